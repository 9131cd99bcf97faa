"""``tag2mask data import``: from what people have to a data set that a run can use."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tag2mask.core import ClassList, UserError
from tag2mask.data.check import Found, check_dataset, class_table
from tag2mask.data.class_names import require_distinct_names
from tag2mask.data.config_file import write_config
from tag2mask.data.image_folder import file_stem, folder_named
from tag2mask.data.image_set import ImageSet
from tag2mask.data.imports.coco_masks import draw_masks
from tag2mask.data.imports.masks import parse_values, remove_lost, usable_masks
from tag2mask.data.imports.page import write_page
from tag2mask.data.imports.readers import read_source
from tag2mask.data.imports.resolve import Choices, common_folder, resolve
from tag2mask.data.imports.source import ImageIndex, Item, Source
from tag2mask.data.imports.write import (
    CSV_NAME,
    MARK,
    MASKS_NAME,
    PAGE_NAME,
    YAML_NAME,
    is_ours,
    require_free,
    table_text,
    write_table,
)
from tag2mask.data.problems import problems_error
from tag2mask.data.tag_table import TableForm

_OUT = "tag2mask"
_MASKS = ("masks", "SegmentationClass")
_NO_IMAGES = (*_MASKS, "SegmentationClassAug", "SegmentationObject")
_TABLE = "tag2mask.data.Table"
_SPLITS = ("train", "val")
EXAMPLES = """what SOURCE may be:
  images beside a CSV of tags, a folder of images for each class (perhaps below train/ and val/),
  JSON (COCO's annotations, a dictionary image -> tags, a list of entries), VOC's XML files

examples:
  tag2mask data import my_photos
  tag2mask data import coco/train2017 --annotations coco/instances_train2017.json --out data/coco
  tag2mask data import parts --negative good --masks parts/masks --mask-value 255=defect"""


@dataclass(frozen=True)
class _Job:
    """What was read, and where the data set goes."""

    out: Path
    index: ImageIndex
    source: Source
    items: list[Item]
    masks: Path | None
    args: argparse.Namespace


def add_import(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the action ``import``."""
    parser = actions.add_parser(
        "import",
        help="make a data set of your own images and tags",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", type=Path, help="folder with the images")
    parser.add_argument(
        "--annotations", action="append", type=Path, default=[], metavar="FILE",
        help="CSV, JSON or folder of XML files (default: looked for in SOURCE); again for more JSON files",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help=f"folder to write to (default: SOURCE/{_OUT})"
    )
    parser.add_argument("--separator", help="what separates names in a cell (none: one name in each)")
    parser.add_argument("--tags-column", metavar="NAME", help="heading of the column of tags")
    parser.add_argument(
        "--untagged",
        choices=["error", "negative", "skip"],
        default="error",
        help="what images without tags are (default: error)",
    )
    parser.add_argument("--negative", metavar="NAME", help="tag that means: none of the classes")
    parser.add_argument("--skip-bad", action="store_true", help="leave out images that are missing or broken")
    parser.add_argument("--masks", type=Path, metavar="DIR", help="folder of masks (default: SOURCE/masks)")
    parser.add_argument(
        "--mask-value", action="append", default=[], metavar="VALUE=NAME",
        help="class of a value or a colour (#ff0000) in masks; again for more",
    )  # fmt: skip
    parser.add_argument(
        "--draw-masks", action="store_true", help="draw masks from COCO's outlines, for scores"
    )
    parser.add_argument(
        "--val-fraction", type=float, default=0.2, help="share held out without a val split (default: 0.2)"
    )
    parser.set_defaults(handler=_import)


def _import(args: argparse.Namespace) -> int:
    root: Path = args.source
    if not root.is_dir():
        raise UserError(
            f"{root} is not a folder: give the folder with the images, and the file to --annotations"
        )
    out: Path = args.out or root / _OUT
    masks = _mask_folder(root, args.masks)
    _check_options(args, masks)
    # In the source's own folder masks are the user's; elsewhere those of a call that was stopped may lie.
    others = args.draw_masks or (masks is not None and masks.resolve() != out.resolve() / MASKS_NAME)
    require_free(out, masks=others and out.resolve() == root.resolve())
    index = ImageIndex(root, [out, *([masks] if masks else []), *(root / name for name in _NO_IMAGES)])
    source = read_source(root, args.annotations, index, TableForm(args.separator, args.tags_column))
    choices = Choices(args.untagged, args.negative, args.skip_bad, args.val_fraction)
    job = _Job(out, index, source, resolve(source, index, choices), masks, args)
    images, found = _write(job)
    _tell(out, source, images, found)
    return 0


def _mask_folder(root: Path, given: Path | None) -> Path | None:
    if given is not None and not given.is_dir():
        raise UserError(f"--masks {given} is not a folder")
    return given or next((place for name in _MASKS if (place := folder_named(root, name))), None)


def _check_options(args: argparse.Namespace, masks: Path | None) -> None:
    """Refuse options that would do nothing, and a share that leaves no images on one side."""
    if not 0 < args.val_fraction < 1:
        raise UserError(f"--val-fraction must lie between 0 and 1, got {args.val_fraction}")
    if args.draw_masks and (args.masks or args.mask_value):
        raise UserError("--draw-masks makes the masks itself: leave out --masks and --mask-value")
    if args.mask_value and masks is None:
        raise UserError(f"--mask-value: {args.source} has no folder of masks: name it with --masks")


def _write(job: _Job) -> tuple[ImageSet, Found]:
    """Write table, masks and configuration, and check what was written."""
    arguments = _arguments(job)
    images = _write_yaml(job, arguments)
    others = sorted({item.split for item in job.items} - {"", *_SPLITS})
    found = check_dataset(images, [*_SPLITS, *others])
    wrong = [*found.errors, *(() if job.args.skip_bad else found.problems.values())]
    if len(wrong) == len(found.problems) == 1:
        raise UserError(f"{wrong[0]}, or leave it out with --skip-bad")
    if wrong:
        raise problems_error(wrong, "mend them, or leave broken images out with --skip-bad")
    if found.problems:
        arguments["skip"] = sorted(found.problems)
        left_out = f"{len(found.problems)} images cannot be read: left out (skip in {YAML_NAME})"
        job.source.notes.append(left_out)
        images = _write_yaml(job, arguments)
    return images, found


def _arguments(job: _Job) -> dict[str, Any]:
    """What the data set is made of, once its table and its masks are written."""
    args, classes = job.args, _classes(job.source, job.items)
    folder = common_folder(job.items)
    places = {item.image: item.image[len(folder) + 1 :] if folder else item.image for item in job.items}
    masks = _masks(job, places, ClassList.from_names(classes))
    table, form = table_text([replace(i, image=places[i.image]) for i in job.items])
    write_table(job.out, table)
    return {
        "root": str(job.out.absolute()),
        "images": str((job.index.root / folder).absolute()),
        "csv": CSV_NAME,
        "masks": None if masks is None else str(masks.absolute()),
        "classes": list(classes),
        "val_fraction": args.val_fraction,
        **form,
        "untagged": "negative" if args.negative or args.untagged == "negative" else "error",
    }


def _write_yaml(job: _Job, arguments: dict[str, Any]) -> ImageSet:
    dataset = {"class_path": _TABLE, "init_args": arguments}
    comment = f"{MARK} from {' '.join(job.source.form.split())}; give this file to --data."
    write_config(job.out / YAML_NAME, dataset, comment)
    return ImageSet.from_description(dataset)


def _classes(source: Source, items: list[Item]) -> tuple[str, ...]:
    """The names that occur: in the source's order, or in that of the alphabet."""
    there = {name for item in items for name in item.names}
    if not there:
        raise UserError(f"{source.form}: no image has a tag")
    require_distinct_names(there, source.form)
    return tuple(n for n in source.classes if n in there) or tuple(sorted(there))


def _masks(job: _Job, places: dict[str, str], classes: ClassList) -> Path | None:
    """The folder of masks: drawn, converted, or as it is; None if there are none."""
    source, out = job.source, job.out / MASKS_NAME
    if job.args.draw_masks:
        if not source.outlines:
            raise UserError(f"--draw-masks needs COCO's annotations, but this is {source.form}")
        draw_masks(source.outlines, job.index, places, out, classes, any_size=job.args.skip_bad)
        return out
    if job.masks is None:
        return None
    values = parse_values(job.args.mask_value, classes)
    used = usable_masks(job.masks, list(places.values()), out, values, classes)
    if used is None:
        example = file_stem(next(iter(places.values()))) + ".png"
        source.notes.append(f"{job.masks} has no mask named as an image, such as {example}")
    if used == out and is_ours(job.out):
        lost = remove_lost(job.masks, list(places.values()), out)
        if lost:
            source.notes.append(
                f"{lost} converted masks in {out} deleted: {job.masks} has none for these images now"
            )
    return used


def _tell(out: Path, source: Source, images: ImageSet, found: Found) -> None:
    counts = class_table(images, found.ids)
    write_page(out / PAGE_NAME, images, found.ids, counts, source.form)
    print(f"read {source.form}\n")
    print(counts.text())
    for note in [*source.notes, *found.notes]:
        print(f"note: {note}")
    print(f"\nwritten: {out / CSV_NAME}, {out / YAML_NAME}, {out / PAGE_NAME} (sample pictures)")
    data = shlex.quote(str(out / YAML_NAME))
    print(f"next: tag2mask run psa --data {data} --run-dir runs/mine --budget small")
