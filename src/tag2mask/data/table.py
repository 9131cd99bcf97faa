"""Your own images with a table of tags."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tag2mask.artifacts.files import safe_join
from tag2mask.core import ClassList, UserError, unknown_name
from tag2mask.data.image_set import ImageSet
from tag2mask.data.images import PHOTO_SUFFIXES
from tag2mask.data.tags import read_csv, split_labels

_UNSAFE = re.compile(r"[^\w.+-]")
_HASH_RANGE = 16**8


@dataclass(frozen=True)
class _Row:
    image: str  # relative to the folder of images, as in the CSV
    names: tuple[str, ...]
    split: str
    line: str


class Table(ImageSet):
    """Images in a folder (and its subfolders) and a CSV: ``image,labels`` and if you like ``split``.

    Labels are separated by spaces. An image id is the image's path without its ending, with ``__``
    for a folder's slash and ``_`` for characters that file names had better not have. Without a
    column ``split``, images go to train and val by a hash of their id, so that images which come
    later leave the others where they are.

    Args:
        images: folder of images.
        csv: the table; its paths are relative to `images`.
        masks: folder of palette PNGs named as the images, or None; only for scoring.
        classes: class names, mask ids 1..K in this order; by default all names in the table, sorted.
        val_fraction: share of images for validation, where the table has no column ``split``.
        root: folder that the other paths are relative to, by default the working directory.
    """

    def __init__(
        self,
        images: str,
        csv: str,
        masks: str | None = None,
        classes: Sequence[str] | None = None,
        val_fraction: float = 0.2,
        root: str | None = None,
    ) -> None:
        if not 0 < val_fraction < 1:
            raise UserError(f"val_fraction must lie between 0 and 1, got {val_fraction}")
        base = Path(root or ".")
        self._images, self._csv = base / images, base / csv
        self._masks = None if masks is None else base / masks
        self._class_names = classes
        self._val_fraction = val_fraction

    def _init_args(self) -> dict[str, Any]:
        return {
            "images": str(self._images.absolute()),
            "csv": str(self._csv.absolute()),
            "masks": None if self._masks is None else str(self._masks.absolute()),
            "classes": None if self._class_names is None else list(self._class_names),
            "val_fraction": self._val_fraction,
            "root": None,
        }

    @cached_property
    def classes(self) -> ClassList:
        """The given classes, or all names in the table, sorted; mask ids 1..K."""
        if self._class_names is not None:
            return ClassList.from_names(self._class_names)
        found = sorted({name for row in self._rows.values() for name in row.names})
        if not found:
            raise UserError(f"{self._csv} has no labels: fill its column labels")
        return ClassList.from_names(found)

    def ids(self, split: str) -> list[str]:
        """The ids of a split, in the order of the table."""
        ids = [image_id for image_id, row in self._rows.items() if row.split == split]
        if not ids:
            raise unknown_name(
                "split", split, {row.split for row in self._rows.values()}, f"(in {self._csv})"
            )
        return ids

    def image_path(self, image_id: str) -> Path:
        """The image that the table names, or of that name with any image ending."""
        path = safe_join(self._images, self._row(image_id).image)
        if path.suffix:
            return path
        return next((p for s in PHOTO_SUFFIXES if (p := path.with_name(path.name + s)).is_file()), path)

    def mask_path(self, image_id: str) -> Path | None:
        """``masks/<path of the image>.png``, or None if there is none."""
        if self._masks is None:
            return None
        path = safe_join(self._masks, _stem(self._row(image_id).image) + ".png")
        return path if path.is_file() else None

    def tag_names(self, image_id: str) -> tuple[str, ...]:
        """The labels in the image's row."""
        row = self._row(image_id)
        if not row.names:
            raise UserError(
                f"image {row.image} has no tags ({self._csv}, line {row.line}): add them or remove the row"
            )
        return row.names

    def check_ids(self, image_ids: Sequence[str], need_tags: bool = True) -> None:
        """As in `ImageSet`; also that the folders are there."""
        for folder in (self._images, self._masks):
            if folder is not None and not folder.is_dir():
                raise UserError(
                    f"the folder {folder} does not exist: check root, images and masks of the data set"
                )
        super().check_ids(image_ids, need_tags)

    def _row(self, image_id: str) -> _Row:
        if image_id not in self._rows:
            raise unknown_name("image id", image_id, self._rows, f"(in {self._csv})")
        return self._rows[image_id]

    @cached_property
    def _rows(self) -> dict[str, _Row]:
        """Image id -> row, with the split filled in."""
        rows: dict[str, _Row] = {}
        for plain in read_csv(self._csv):
            image = plain["image"].strip()
            safe_join(self._images, image)
            image_id = _image_id(image)
            row = _Row(
                image,
                split_labels(plain, self._csv, self._class_names),
                plain.get("split", ""),
                plain["line"],
            )
            if image_id in rows:
                raise UserError(
                    f"{self._csv}, line {row.line}: {image} and {rows[image_id].image} "
                    f"(line {rows[image_id].line}) would have the same id; rename one or keep one row"
                )
            rows[image_id] = row
        if not rows:
            raise UserError(f"{self._csv} has no rows")
        return self._with_splits(rows)

    def _with_splits(self, rows: dict[str, _Row]) -> dict[str, _Row]:
        given = [row for row in rows.values() if row.split]
        if len(given) == len(rows):
            return rows
        if given:
            row = next(row for row in rows.values() if not row.split)
            raise UserError(
                f"{self._csv}, line {row.line}: the column split is empty; fill all of it or none"
            )
        val = {image_id for image_id in rows if _share(image_id) < self._val_fraction}
        if len(rows) > 1 and len(val) in (0, len(rows)):
            # So few images that the hash puts all on one side: neither split may be empty.
            ordered = sorted(rows, key=_share)
            val = set(ordered[:1] if not val else ordered[:-1])
        return {i: _Row(r.image, r.names, "val" if i in val else "train", r.line) for i, r in rows.items()}


def _stem(image: str) -> str:
    """An image's relative path without its ending."""
    path = image.replace("\\", "/")
    stem, dot, ending = path.rpartition(".")
    return stem if dot and f".{ending.lower()}" in PHOTO_SUFFIXES else path


def _image_id(image: str) -> str:
    """The id of an image by its relative path: one safe file name."""
    parts = [part for part in _stem(image).split("/") if part not in ("", ".")]
    if not parts:
        raise UserError(f"the image {image!r} of the table has no name before its ending: rename it")
    return "__".join(_UNSAFE.sub("_", part) for part in parts)


def _share(image_id: str) -> float:
    """A number in [0, 1) that depends on the id alone, and evenly so."""
    return int(hashlib.sha256(image_id.encode()).hexdigest()[:8], 16) / _HASH_RANGE
