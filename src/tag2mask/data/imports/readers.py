"""Finds out what a folder or file is, and reads it: a table, a folder for each class, JSON, or XML files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from tag2mask.core import UserError, map_threads
from tag2mask.data.id_lists import read_ids
from tag2mask.data.imports.json_tags import read_json_tags
from tag2mask.data.imports.source import ImageIndex, Item, Source
from tag2mask.data.separators import clean_name
from tag2mask.data.table_text import TABLE_SUFFIXES
from tag2mask.data.tag_table import SPLITS, TableForm, read_tag_table, unused_columns
from tag2mask.data.tags import image_stem, read_objects

JSON_SUFFIXES = (".json", ".jsonl")
_OTHER_TABLES = (".xlsx", ".xls", ".ods", ".numbers", ".parquet")
_PLAIN_FOLDERS = (
    "image",
    "images",
    "img",
    "imgs",
    "jpegimages",
    "photo",
    "photos",
    "picture",
    "pictures",
    "pics",
)
"""Folders that hold the images of all classes, and no class of this name."""


def read_source(root: Path, annotations: Sequence[Path], index: ImageIndex, form: TableForm) -> Source:
    """The images and tags of a source.

    Args:
        root: the folder of the source.
        annotations: files, or a folder of XML files; empty to look for them in `root`.
        index: the images below `root`.
        form: how to read a table.

    Raises:
        UserError: nothing is there that could be read, several things are, or one cannot be read.
    """
    chosen = list(annotations) or _find(root)
    kinds = {_kind(path) for path in chosen}
    if len(kinds) > 1 or (kinds == {"table"} and len(chosen) > 1):
        names = ", ".join(str(path) for path in chosen)
        raise UserError(f"{root} can be read in several ways ({names}): say which with --annotations")
    readers: Mapping[str, Callable[[], Source]] = {
        "table": lambda: _table(chosen[0], form),
        "json": lambda: read_json_tags(chosen, form),
        "xml": lambda: _xml(root, chosen[0]),
        "folders": lambda: _folders(root, index),
    }
    kind = kinds.pop() if kinds else "folders"
    source = readers[kind]()
    for option, value, read_by in (
        ("--separator", form.separator, ("table", "json")),
        ("--tags-column", form.tags_column, ("table",)),
    ):
        if value is not None and kind not in read_by:
            raise UserError(f"{option} says how to read a table, but this is {source.form}: leave it out")
    return source


def _find(root: Path) -> list[Path]:
    """Files of tags at the top of the folder and in its folder of annotations."""
    places = [root, *(p for p in root.iterdir() if p.is_dir() and p.name.lower() == "annotations")]
    files = sorted(p for place in places for p in place.iterdir() if p.is_file())
    chosen = [p for p in files if p.suffix.lower() in (*TABLE_SUFFIXES, *JSON_SUFFIXES)]
    return chosen + list(dict.fromkeys(p.parent for p in files if p.suffix.lower() == ".xml"))


def _kind(path: Path) -> str:
    if path.is_dir():
        return "xml"
    if not path.is_file():
        raise UserError(f"{path} does not exist: --annotations takes a file, or a folder of XML files")
    suffix = path.suffix.lower()
    if suffix in JSON_SUFFIXES:
        return "json"
    if suffix in (*TABLE_SUFFIXES, ".txt"):
        return "table"
    raise UserError(f"{path} is not a form that can be read: a CSV, JSON, or a folder of VOC's XML files")


def _table(path: Path, form: TableForm) -> Source:
    rows = read_tag_table(path, form)
    if not rows:
        raise UserError(f"{path} has no rows below its headings: write one for each image")
    items = [Item(row.image, row.names, row.split, f"{path}, line {row.line}") for row in rows]
    unused = unused_columns(path, form)
    notes = [f"columns that are not read: {', '.join(unused)}"] if unused else []
    return Source(f"the table {path}", items, notes=notes)


def _xml(root: Path, folder: Path) -> Source:
    """VOC's annotations, with the lists of ImageSets where there are any."""
    files = sorted(folder.glob("*.xml"))
    if not files:
        raise UserError(f"{folder} has no XML files")
    objects = map_threads(read_objects, files)
    splits = _lists(root)
    items = [
        Item(file.stem, tuple(n for n in names if n), splits.get(file.stem, ""), str(file))
        for file, names in zip(files, objects, strict=True)
        if not splits or file.stem in splits
    ]
    left = len(files) - len(items)
    notes = [f"{left} images of {folder} are in no list of {root / 'ImageSets'}: left out"] if left else []
    if lost := splits.keys() - {file.stem for file in files}:
        notes.append(f"{len(lost)} images of the lists have no XML file, e.g. {min(lost)}: left out")
    return Source(f"VOC's XML files in {folder}", items, notes=notes)


def _lists(root: Path) -> dict[str, str]:
    """Image id -> split, from the first folder of lists that has both train and val."""
    for name in ("Segmentation", "Main"):
        lists = {split: root / "ImageSets" / name / f"{split}.txt" for split in ("train", "val", "test")}
        if lists["train"].is_file() and lists["val"].is_file():
            return {
                image: split
                for split, path in lists.items()
                if path.is_file() and path.read_bytes().strip()
                for image in read_ids(path, image_stem)
            }
    return {}


def _folders(root: Path, index: ImageIndex) -> Source:
    """A folder for each class, perhaps below a folder for each split."""
    parts = [path.split("/") for path in index.paths]
    tops = {part[0] for part in parts if len(part) > 1}
    if not tops:
        raise UserError(
            f"{root} has neither a table of tags, nor JSON or XML files, nor a folder of images for each "
            "class: write a CSV image,labels, or say where it is with --annotations"
        )
    _require_classes(root, tops, any(len(part) > 2 for part in parts))
    _require_tags(root, tops)
    by_split = all(top.lower() in SPLITS for top in tops) and any(len(part) > 2 for part in parts)
    depth = 1 if by_split else 0
    items = [
        Item(
            "/".join(part),
            (clean_name(part[depth]),),
            SPLITS[part[0].lower()] if by_split else "",
            part[depth],
        )
        for part in parts
        if len(part) > depth + 1
    ]
    left = len(parts) - len(items)
    notes = [f"{left} images lie in no folder of a class: left out"] if left else []
    return Source(f"a folder for each class in {root}", items, notes=notes)


def _require_tags(root: Path, folders: Collection[str]) -> None:
    """Refuse a folder of all images with nothing that tells their tags: its name would be the only one."""
    if len(folders) > 1 or min(folders).lower() not in _PLAIN_FOLDERS:
        return
    tables = sorted(p for p in root.iterdir() if p.suffix.lower() in _OTHER_TABLES)
    told = (
        f"{tables[0]} cannot be read: save it as CSV in UTF-8" if tables else "write a CSV image,labels there"
    )
    raise UserError(
        f"{root} has images in {min(folders)}, and nothing that can be read says what they show: {told}, or "
        "say where the tags are with --annotations"
    )


def _require_classes(root: Path, folders: Collection[str], deeper: bool) -> None:
    """Refuse folders that are no classes: those with a table of their own, and splits with nothing below."""
    for folder in sorted(folders):
        tables = sorted(p for p in (root / folder).iterdir() if p.suffix.lower() in TABLE_SUFFIXES)
        if tables:
            raise UserError(
                f"{root} is read as a folder for each class, but {tables[0]} looks like a table of tags: "
                f"import {root / folder}, or give the table with --annotations {tables[0]}"
            )
    if not deeper and all(folder.lower() in SPLITS for folder in folders):
        raise UserError(
            f"{root} holds {' and '.join(sorted(folders))}, which are splits, and nothing says which classes "
            "their images show: put them into a folder for each class below, or write a CSV image,labels"
        )
