"""COCO 2014 made ready: a table of tags and masks, both from its annotations."""

from __future__ import annotations

from pathlib import Path

from tag2mask.artifacts.files import atomic_write_text
from tag2mask.core import ClassList, UserError
from tag2mask.core.library import dataset_config, open_library
from tag2mask.data.imports.coco_masks import draw_masks
from tag2mask.data.imports.json_tags import read_json_tags
from tag2mask.data.imports.source import ImageIndex, Item
from tag2mask.data.imports.write import CSV_NAME, table_text
from tag2mask.data.official.counts import COCO_COUNTS, compare
from tag2mask.data.tag_table import TableForm

MASKS = "masks"
_FILES = tuple(f"annotations/instances_{split}2014.json" for split in COCO_COUNTS)


def prepare_coco(root: Path) -> list[str]:
    """Write the table of tags and the masks of COCO 2014.

    Tags are the categories of an image's annotations; images without any show none of the classes.
    Masks that are there are not drawn again.

    Args:
        root: the folder with ``annotations``, ``train2014`` and ``val2014``.

    Returns:
        what was found and done, a line each.

    Raises:
        UserError: annotations or images are missing, or there is another table of tags.
    """
    paths = [root / name for name in _FILES]
    for path in paths:
        if not path.is_file():
            raise UserError(
                f"{path} does not exist: name the folder that holds annotations, train2014, val2014"
            )
    source = read_json_tags(paths, TableForm())
    classes = dataset_config(open_library(), "coco")["init_args"]["classes"]
    if list(source.classes) != classes:
        raise UserError(
            f"{paths[0]} does not have COCO's {len(classes)} categories: import other sets with data import"
        )
    index = ImageIndex(root, [root / MASKS])
    places = {item.image: _place(index, root, item) for item in source.items}
    items = [Item(places[item.image], item.names, item.split, item.where) for item in source.items]
    _write_table(root / CSV_NAME, table_text(items)[0])
    images = {place: place for place in places.values()}
    drawn = draw_masks(paths, index, images, root / MASKS, ClassList.from_names(classes), keep=True)
    splits = [item.split for item in items]
    return [
        *(compare(split, splits.count(split), count) for split, count in COCO_COUNTS.items()),
        f"{root / CSV_NAME}: tags of {len(items):,} images, {len(classes)} classes",
        f"{root / MASKS}: {drawn:,} masks drawn, {len(items) - drawn:,} were there",
    ]


def _write_table(path: Path, text: str) -> None:
    if not path.is_file():
        atomic_write_text(path, text)
    elif path.read_text(encoding="utf-8", errors="replace") != text:
        raise UserError(f"{path} is there already, and is not what the annotations give: move it away first")


def _place(index: ImageIndex, root: Path, item: Item) -> str:
    place = index.find(item.image)
    if place is None:
        raise UserError(f"{item.where} names {item.image}, which is not in {root}: unpack its images there")
    return place
