"""COCO's annotations: categories, images and objects, with every id checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tag2mask.core import UserError
from tag2mask.data.separators import clean_name

_PARTS = ("images", "annotations", "categories")
Id = int | float | str
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class CocoFile:
    """What a file of COCO's annotations says.

    Attributes:
        categories: id -> name, numbers before texts and each in their order.
        images: id -> entry, in the order of the file.
        objects: the entry of each annotation, with the ids of its image and its category.
    """

    categories: dict[Id, str]
    images: dict[Id, Entry]
    objects: list[tuple[Entry, Id, Id]]


def is_coco(content: Any) -> bool:
    """Whether a JSON file has the parts of COCO's annotations."""
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in _PARTS)


def read_coco(path: Path, content: Entry) -> CocoFile:
    """The parts of a file, each annotation with an image and a category that are there.

    An id may be a number in one place and the same number in quotes in another.

    Args:
        path: the file, for messages.
        content: what it holds; `is_coco` is true of it.

    Raises:
        UserError: an entry lacks something, an id stands for two things, or for nothing.
    """
    categories = _by_id(path, content, "categories", "name")
    images = _by_id(path, content, "images", "file_name")
    objects = []
    for number, entry in enumerate(content["annotations"], 1):
        image = _id(path, "annotations", number, entry, "image_id")
        category = _id(path, "annotations", number, entry, "category_id")
        for key, known, part in ((image, images, "images"), (category, categories, "categories")):
            if key not in known:
                raise UserError(
                    f"{path}: entry {number} of annotations names {key!r}, which is no id in {part}"
                )
        objects.append((entry, image, category))
    ordered = sorted(categories, key=lambda key: (isinstance(key, str), key))
    names = {key: clean_name(str(categories[key]["name"])) for key in ordered}
    return CocoFile(names, images, objects)


def _by_id(path: Path, content: Entry, part: str, what: str) -> dict[Id, Entry]:
    found: dict[Id, Entry] = {}
    entries: Sequence[Any] = content[part]
    for number, entry in enumerate(entries, 1):
        key = _id(path, part, number, entry, "id")
        if what not in entry:
            raise UserError(f"{path} is not COCO's form: entry {number} of {part} has no {what}")
        if key in found and found[key][what] != entry[what]:
            raise UserError(
                f"{path}: the id {key!r} in {part} stands for {found[key][what]!r} and {entry[what]!r}: "
                "give each an id of its own, also in the annotations"
            )
        found.setdefault(key, entry)
    return found


def _id(path: Path, part: str, number: int, entry: Any, name: str) -> Id:
    if not isinstance(entry, dict) or name not in entry:
        raise UserError(f"{path} is not COCO's form: entry {number} of {part} has no {name}")
    value = entry[name]
    if isinstance(value, str):
        return int(value) if value.isdecimal() and str(int(value)) == value else value
    if isinstance(value, int | float):
        return value
    raise UserError(
        f"{path}: entry {number} of {part} has {value!r} as {name}, which is no number and no text"
    )
