"""Tags from JSON: COCO's annotations, a dictionary of images, a list of entries, or a line for each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tag2mask.core import UserError
from tag2mask.data.imports.coco_form import Id, is_coco, read_coco
from tag2mask.data.imports.source import Item, Source
from tag2mask.data.separators import clean_name, find_separator, split_cell
from tag2mask.data.tag_columns import are_zeros_and_ones, is_image_heading, is_split_heading, is_tag_heading
from tag2mask.data.tag_table import SPLITS, TableForm

Entry = tuple[str, Any, str]
"""Image, its tags as they stand in the file, and split."""


def read_json_tags(paths: Sequence[Path], form: TableForm) -> Source:
    """The images of one or more JSON files; the names of several files say which split each is.

    Raises:
        UserError: a file has none of the forms, or an entry lacks something.
    """
    plain = {path: load_json(path) for path in paths}
    items: list[Item] = []
    classes: tuple[str, ...] = ()
    for path, content in plain.items():
        split = _split_of(path) if len(paths) > 1 else ""
        if is_coco(content):
            found, names = _coco(path, content, split)
            classes = tuple(dict.fromkeys((*classes, *names)))
        else:
            found = _plain_items(path, content, split, form)
        items += found
    kind = "COCO's annotations" if classes else "JSON"
    said = f"{kind} in {', '.join(str(path) for path in paths)}"
    return Source(said, items, classes, outlines=tuple(p for p in paths if is_coco(plain[p])))


def load_json(path: Path) -> Any:
    """What a JSON file holds; a list for a file with an object in each line.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        text = path.read_text("utf-8-sig")
        if path.suffix.lower() == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        return json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error})") from None


def _coco(path: Path, content: Mapping[str, Any], split: str) -> tuple[list[Item], list[str]]:
    """The images, and the names of the categories in the order of their ids."""
    coco = read_coco(path, content)
    names: dict[Id, dict[str, None]] = {key: {} for key in coco.images}
    for _, image, category in coco.objects:
        names[image][coco.categories[category]] = None
    items = [
        Item(str(entry["file_name"]), tuple(names[key]), split, str(path))
        for key, entry in coco.images.items()
    ]
    return items, list(coco.categories.values())


def _plain_items(path: Path, content: Any, split: str, form: TableForm) -> list[Item]:
    entries = [
        (image, tags, SPLITS.get(own.lower(), own) or split) for image, tags, own in _entries(path, content)
    ]
    _refuse_zeros_and_ones(path, [tags for _, tags, _ in entries])
    cells = [tags for _, tags, _ in entries if isinstance(tags, str)]
    separator = find_separator(cells, form.separator, form.known, str(path)) if cells else ""
    return [
        Item(image, _names(path, image, tags, separator), split, str(path)) for image, tags, split in entries
    ]


def _entries(path: Path, content: Any) -> list[Entry]:
    if isinstance(content, dict):
        return [
            (image, *_tags_and_split(path, image, tags)) if isinstance(tags, dict) else (image, tags, "")
            for image, tags in content.items()
        ]
    if isinstance(content, list) and content:
        return [_entry(path, number, entry) for number, entry in enumerate(content, 1)]
    raise UserError(
        f"{path} has no form that can be read: COCO's annotations, a dictionary image -> tags, or a list of "
        '{"image": ..., "labels": [...]}'
    )


def _entry(path: Path, number: int, entry: Any) -> Entry:
    if isinstance(entry, dict):
        for key, value in entry.items():
            if is_image_heading(key) and isinstance(value, str):
                return value, *_tags_and_split(path, value, entry)
    raise UserError(f'{path}: entry {number} names no image, as in {{"image": "a.jpg", "labels": ["cat"]}}')


def _tags_and_split(path: Path, image: str, entry: Mapping[str, Any]) -> tuple[Any, str]:
    tags = next((value for key, value in entry.items() if is_tag_heading(key)), None)
    if tags is None:
        raise UserError(f'{path}: the entry of {image} has no tags, as in {{"labels": ["cat", "dog"]}}')
    split = next((str(value) for key, value in entry.items() if is_split_heading(key)), "")
    return tags, split


def _refuse_zeros_and_ones(path: Path, every: Sequence[Any]) -> None:
    """Refuse ``[0, 1, 0]``, which says of each class whether it is there; in quotes they are names."""
    tags = [tag for tags in every for tag in (tags if isinstance(tags, list) else [tags])]
    if all(_is_number(tag) for tag in tags) and are_zeros_and_ones([str(tag) for tag in tags]):
        values = ", ".join(sorted({str(tag) for tag in tags}))
        raise UserError(
            f"{path}: all tags are {values}, which name no class: if they "
            'say whether a class is there, write the names of those that are; as names write "0" and "1"'
        )


def _names(path: Path, image: str, tags: Any, separator: str) -> tuple[str, ...]:
    if isinstance(tags, str):
        return split_cell(tags, separator)
    # a number is its text, as in a CSV
    tags = [tags] if _is_number(tags) else tags
    if isinstance(tags, list) and all(isinstance(name, str) or _is_number(name) for name in tags):
        return tuple(dict.fromkeys(cleaned for name in tags if (cleaned := clean_name(str(name)))))
    raise UserError(f"{path}: the tags of {image} are {tags!r}, not a list of names")


def _is_number(value: Any) -> bool:
    """Whether a tag is a whole number; JSON's true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _split_of(path: Path) -> str:
    """The split that a file's name says, as ``instances_val2017.json``."""
    for word, split in (("train", "train"), ("val", "val"), ("test", "test")):
        if word in path.stem.lower():
            return split
    raise UserError(f"{path}: with several files, each name must say train, val or test")
