"""Image tags from a CSV, from VOC's XML files, or from PSA's ``cls_labels.npy``; never from masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from xml.etree import ElementTree

from tag2mask.core import UserError, unknown_name
from tag2mask.data.image_folder import file_stem
from tag2mask.data.safe_npy import load_label_dict
from tag2mask.data.tag_table import TableForm, read_tag_table


class TagSource(Protocol):
    """Where the tags of images come from."""

    where: str

    def get(self, image_id: str) -> tuple[str, ...] | None:
        """The names of the image's classes, or None if it is not there."""

    def files(self, image_ids: Sequence[str]) -> list[Path]:
        """The files that the tags of images are read from."""


@dataclass
class TagTable:
    """Tags that were read all at once: a CSV or an ``.npy`` file."""

    where: str
    names: Mapping[str, tuple[str, ...]]

    def get(self, image_id: str) -> tuple[str, ...] | None:
        """The names of the image's classes, or None if it has no row."""
        return self.names.get(image_id)

    def files(self, image_ids: Sequence[str]) -> list[Path]:
        """The one file."""
        return [Path(self.where)]


class XmlTags:
    """Tags from VOC's ``Annotations/<id>.xml``: every object counts, difficult ones too."""

    def __init__(self, folder: Path, known: Sequence[str]) -> None:
        self.where = str(folder)
        self._folder = folder
        self._known = tuple(known)
        self._cache: dict[str, tuple[str, ...] | None] = {}

    def get(self, image_id: str) -> tuple[str, ...] | None:
        """The names of the image's objects, or None if it has no XML file."""
        if image_id not in self._cache:
            path = self._folder / f"{image_id}.xml"
            self._cache[image_id] = read_xml(path, self._known) if path.is_file() else None
        return self._cache[image_id]

    def files(self, image_ids: Sequence[str]) -> list[Path]:
        """The XML files of images that have one."""
        return [self._folder / f"{i}.xml" for i in image_ids if self.get(i) is not None]


def read_xml(path: Path, known: Sequence[str]) -> tuple[str, ...]:
    """`read_objects`, each of which must be a known class.

    Raises:
        UserError: as `read_objects`, or an unknown class.
    """
    names = read_objects(path)
    for name in names:
        if name not in known:
            raise unknown_name("class", name, known, f"(in {path})")
    return names


def read_objects(path: Path) -> tuple[str, ...]:
    """The distinct object names of one VOC annotation file.

    Raises:
        UserError: no XML, or a document type or entities in it.
    """
    try:
        # Decoded first, so that a declared encoding cannot hide a DTD from the next check.
        text = path.read_bytes().decode("utf-8")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise UserError(
                f"{path} has a document type or entities, which VOC's files never have: remove them"
            )
        objects = ElementTree.fromstring(text).findall("object")
    except (OSError, UnicodeDecodeError, ElementTree.ParseError) as error:
        raise UserError(
            f"{path} cannot be read as XML ({error}): replace it, or give a CSV of tags"
        ) from None
    return tuple(dict.fromkeys((o.findtext("name") or "").strip() for o in objects))


def csv_tags(path: Path, known: Sequence[str]) -> TagTable:
    """Tags of a table in any form that `read_tag_table` takes, by file name without its ending.

    Raises:
        UserError: an unknown class or an image listed twice, with file and line.
    """
    names: dict[str, tuple[str, ...]] = {}
    for row in read_tag_table(path, TableForm(known=tuple(known))):
        image_id = image_stem(row.image)
        if image_id in names:
            raise UserError(f"{path}, line {row.line}: {row.image} is listed twice; keep one row")
        for name in row.names:
            if name not in known:
                raise unknown_name("class", name, known, f"({path}, line {row.line})")
        names[image_id] = row.names
    return TagTable(str(path), names)


def npy_tags(path: Path, known: Sequence[str]) -> TagTable:
    """Tags of an ``.npy`` dictionary id -> multi-hot vector in the order of `known` (PSA's format)."""
    hot = load_label_dict(path, len(known))
    return TagTable(
        str(path), {i: tuple(n for n, on in zip(known, row, strict=True) if on) for i, row in hot.items()}
    )


def image_stem(name: str) -> str:
    """File name without folder and image ending: ``"a/2007_000032.jpg"`` -> ``"2007_000032"``."""
    return file_stem(name.strip().replace("\\", "/").rpartition("/")[2])
