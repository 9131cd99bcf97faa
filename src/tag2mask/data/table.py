"""Your own images with a table of tags."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from tag2mask.core import ClassList, UserError, unknown_name
from tag2mask.data.class_names import require_distinct_names, require_texts
from tag2mask.data.image_folder import ImageFolder, file_stem, folder_named
from tag2mask.data.image_ids import held_out, image_id_of
from tag2mask.data.image_set import ImageSet, Untagged
from tag2mask.data.tag_table import SPLITS, TableForm, TagRow, read_tag_table, unused_columns

AUTO = "auto"
_MASK_SUFFIXES = (".png",)
SPLIT_NAMES = frozenset(SPLITS.values())


class Table(ImageSet):
    """Images in a folder (and its subfolders) and a table of tags: a CSV with the columns image and labels.

    Any usual form of a table is read, see `tag2mask.data.tag_table.read_tag_table`; a column ``split``
    is optional. An image id is the image's path without its ending, with ``__`` for a folder's slash and
    ``_`` for characters that file names had better not have. Without a column ``split``, images go to
    train and val by a hash of their id, so that images which come later leave the others where they are.

    Args:
        images: folder of images.
        csv: the table; its paths are relative to `images`, or to the folder of the table.
        masks: folder of palette PNGs named as the images, only for scoring; null for none; auto takes
            ``masks`` beside `images` where it exists.
        classes: class names, mask ids 1..K in this order; by default all names in the table, sorted.
        val_fraction: share of images for validation, where the table has no column ``split``.
        root: folder that the other paths are relative to, by default the working directory.
        separator: what separates names in a cell: a character, or none, space, comma, semicolon or tab;
            null finds it.
        tags_column: heading of the column of tags; null finds it.
        untagged: what an image without tags is: an error, or a negative (it shows none of the classes).
        skip: ids of images to leave out, as ``tag2mask data check --skip-bad`` writes them.
    """

    renamed: ClassVar[Mapping[str, str]] = {"photos": "images"}

    def __init__(
        self,
        images: str,
        csv: str,
        masks: str | None = AUTO,
        classes: Sequence[str] | None = None,
        val_fraction: float = 0.2,
        root: str | None = None,
        separator: str | None = None,
        tags_column: str | None = None,
        untagged: Untagged = "error",
        skip: Sequence[str] | None = None,
    ) -> None:
        super().__init__(untagged, skip)
        if not 0 < val_fraction < 1:
            raise UserError(f"val_fraction must lie between 0 and 1, got {val_fraction}")
        require_texts(classes, "classes")
        base = Path(root or ".")
        self._csv = base / csv
        self._images = ImageFolder(base / images)
        if masks == AUTO:
            beside = folder_named((base / images).parent, "masks")
            masks = None if beside is None else str(beside.absolute())
        self._masks = None if masks is None else ImageFolder(base / masks, _MASK_SUFFIXES)
        self._class_names = classes
        self._val_fraction = val_fraction
        self._form = TableForm(separator, tags_column, None if classes is None else tuple(classes))

    def _init_args(self) -> dict[str, Any]:
        return {
            "images": str(self._images.folder.absolute()),
            "csv": str(self._csv.absolute()),
            "masks": None if self._masks is None else str(self._masks.folder.absolute()),
            "classes": None if self._class_names is None else list(self._class_names),
            "val_fraction": self._val_fraction,
            "root": None,
            "separator": self._form.separator,
            "tags_column": self._form.tags_column,
            **self._common_args(),
        }

    @cached_property
    def classes(self) -> ClassList:
        """The given classes, or all names in the table, sorted; mask ids 1..K."""
        if self._class_names is not None:
            return ClassList.from_names(self._class_names)
        found = sorted({name for row in self._rows.values() for name in row.names})
        if not found:
            raise UserError(f"{self._csv} has no tags: fill its column of labels")
        require_distinct_names(found, str(self._csv))
        return ClassList.from_names(found)

    def ids(self, split: str) -> list[str]:
        """The ids of a split, in the order of the table."""
        ids = [image_id for image_id, row in self._rows.items() if row.split == split]
        if not ids:
            others = {row.split for row in self._rows.values()}
            way_out = (
                f"(in {self._csv}): write {split} for some images in the column split, or leave that column "
                "out and give two images or more"
            )
            raise unknown_name("split", split, others, way_out)
        return self._kept(ids)

    def image_path(self, image_id: str) -> Path:
        """The image that the table names, or of that name with any image ending."""
        image = self._row(image_id).image
        return self._images.find(image) or self._images.folder / image

    def mask_path(self, image_id: str) -> Path | None:
        """``masks/<path of the image>.png``, or None if there is none."""
        if self._masks is None:
            return None
        return self._masks.find(file_stem(self._row(image_id).image))

    def tag_names(self, image_id: str) -> tuple[str, ...]:
        """The labels in the image's row."""
        row = self._row(image_id)
        if not row.names and self.untagged == "error":
            raise UserError(
                f"image {row.image} has no tags ({self._csv}, line {row.line}): add them, remove "
                "the row, or, if it shows none of the classes, write the data set with tag2mask data import "
                "--untagged negative (untagged: negative in its YAML)"
            )
        return row.names

    def problems(
        self, image_ids: Sequence[str], need_tags: bool = True, seen: Callable[[], object] = lambda: None
    ) -> dict[str, str]:
        """As in `ImageSet`.

        Raises:
            UserError: a folder does not exist.
        """
        for place in (self._images, self._masks):
            if place is not None and not place.folder.is_dir():
                way = f"tag2mask data import {self._csv.parent} finds images that lie elsewhere in it"
                raise UserError(
                    f"the folder {place.folder} does not exist: check root, images and masks; {way}"
                )
        return super().problems(image_ids, need_tags, seen)

    def notes(self, image_ids: Sequence[str]) -> list[str]:
        """Columns and splits that are not read, and masks that belong to no image."""
        unused = unused_columns(self._csv, self._form)
        notes = [f"{self._csv}: columns that are not read: {', '.join(unused)}"] if unused else []
        splits = Counter(row.split for row in self._rows.values())
        notes += [_other_split(self._csv, name, splits[name]) for name in sorted(set(splits) - SPLIT_NAMES)]
        if self._masks is not None and not any(self.mask_path(i) for i in image_ids):
            file = next((p.name for p in sorted(self._masks.folder.rglob("*.*"))), None)
            wanted = file_stem(self._row(image_ids[0]).image) + ".png"
            if file is not None:
                notes.append(
                    f"{self._masks.folder} has no mask named as an image: {file} is there, "
                    f"{wanted} is looked for"
                )
        return notes

    def _missing(self, image_id: str) -> UserError:
        found = self._images.elsewhere(self._row(image_id).image)
        there = f" ({found} is there)" if found else ""
        return UserError(
            f"{self.image_path(image_id)} does not exist{there}: check the data root and the names in the "
            f"table, {self._named_in(image_id)}"
        )

    def _named_in(self, image_id: str) -> str:
        return f"{self._csv}, line {self._row(image_id).line}"

    def _tag_files(self, image_ids: Sequence[str]) -> list[Path]:
        return [self._csv]

    def _row(self, image_id: str) -> TagRow:
        if image_id not in self._rows:
            raise unknown_name("image id", image_id, self._rows, f"(in {self._csv})")
        return self._rows[image_id]

    @cached_property
    def _rows(self) -> dict[str, TagRow]:
        """Image id -> row, with the split filled in."""
        rows: dict[str, TagRow] = {}
        plain: dict[str, TagRow] = {}
        for row in read_tag_table(self._csv, self._form):
            self._require_known(row)
            try:
                row = replace(row, image=self._images.relative(row.image))
                image_id = image_id_of(row.image)
            except UserError as error:
                raise UserError(f"{self._csv}, line {row.line}: {error}") from None
            other = plain.setdefault(image_id.casefold(), row)
            if other is not row and (image_id in rows or self._are_one_file(row, other)):
                raise UserError(
                    f"{self._csv}, line {row.line}: {row.image} and {other.image} (line {other.line}) are "
                    "one image, or would have the same id; write one row for it, or rename one of two files"
                )
            rows[image_id] = row
        if not rows:
            raise UserError(f"{self._csv} has no rows below its headings: write one for each image")
        return self._with_splits(rows)

    def _are_one_file(self, *rows: TagRow) -> bool:
        """Whether rows whose images differ by case alone mean one file."""
        return len({self._images.find(row.image) for row in rows}) == 1

    def _require_known(self, row: TagRow) -> None:
        for name in row.names:
            if self._class_names is not None and name not in self._class_names:
                raise unknown_name("class", name, self._class_names, f"({self._csv}, line {row.line})")

    def _with_splits(self, rows: dict[str, TagRow]) -> dict[str, TagRow]:
        given = [row for row in rows.values() if row.split]
        if len(given) == len(rows):
            return rows
        if given:
            row = next(row for row in rows.values() if not row.split)
            raise UserError(
                f"{self._csv}, line {row.line}: the column split is empty; fill all of it or none"
            )
        val = held_out(rows, self._val_fraction)
        return {i: replace(r, split="val" if i in val else "train") for i, r in rows.items()}


def _other_split(path: Path, name: str, count: int) -> str:
    near = difflib.get_close_matches(name.lower(), SPLITS, n=1)
    meant = f" (did you mean {SPLITS[near[0]]}?)" if near else ""
    return f"{path}: {count} of the rows have the split {name!r}{meant}; train, val and test are used"
