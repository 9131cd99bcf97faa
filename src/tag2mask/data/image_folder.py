"""Finds the files that a table or a list means, however it writes their names."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from tag2mask.artifacts.files import safe_join
from tag2mask.artifacts.names import IMAGE_SUFFIXES
from tag2mask.core import UserError

_DRIVE = re.compile(r"[A-Za-z]:/")


def file_stem(name: str, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> str:
    """A relative path without the ending of an image, if it has one: ``a/IMG.v2`` stays as it is."""
    stem, dot, ending = name.rpartition(".")
    return stem if dot and f".{ending.lower()}" in suffixes else name


def walk_linked(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`os.walk` that also enters links to folders, except those to a folder that holds the link.

    Args:
        root: the folder to begin with.
    """
    inside: dict[str, tuple[str, ...]] = {}  # folder -> the real folders around it, and its own
    for folder, folders, files in os.walk(root, followlinks=True):
        around, real = inside.get(os.path.dirname(folder), ()), os.path.realpath(folder)
        if real in around:
            folders.clear()
            continue
        inside[folder] = (*around, real)
        yield Path(folder), folders, files


class ImageFolder:
    """A folder in which files are found by name, whatever the case of the ending and the form of accents.

    A name that is a file as it stands is taken without listing anything. Otherwise the sub-folder is
    listed, once, and its names are compared in Unicode's composed form and without case; a name without
    an ending also finds the one file that it is the stem of.

    A name may begin with the last folders of the folder's own path (``my_photos/images/a.jpg``, as `ls` and
    `find` print it), unless there is a sub-folder of that name.

    Args:
        folder: the folder; no name leads out of it.
        suffixes: endings that a name may leave out.
    """

    def __init__(self, folder: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> None:
        self.folder = folder
        self._suffixes = tuple(suffixes)
        self._listed: dict[Path, dict[str, list[str]]] = {}
        self._parts = Path(os.path.abspath(folder)).parts

    def relative(self, name: str) -> str:
        """The name as a path below the folder, with slashes.

        Raises:
            UserError: it is empty, or leads out of the folder.
        """
        plain = name.strip().replace("\\", "/")
        if PurePosixPath(plain).is_absolute() or _DRIVE.match(plain):
            inside = _inside(Path(plain), self.folder)
            if inside is None:
                raise UserError(
                    f"{name!r} is not inside the folder {self.folder}: "
                    "put the image there, or correct the data root"
                )
            plain = inside
        text = "/".join(self._below([part for part in plain.split("/") if part not in ("", ".")]))
        safe_join(self.folder, text)
        return text

    def find(self, relative: str) -> Path | None:
        """The file of a path below the folder, or None.

        Raises:
            UserError: several files could be meant.
        """
        path = safe_join(self.folder, relative)
        if path.is_file():
            return path
        *folders, name = relative.split("/")
        parent = self.folder
        for folder in folders:
            parent = self._entry(parent, folder) or parent / folder
        return self._entry(parent, name, self._suffixes)

    def elsewhere(self, relative: str) -> str | None:
        """A file that a path below the folder may mean: of another ending, or in another sub-folder.

        Returns:
            its path below the folder; None if no file, or several, have the name.
        """
        wanted = plain_name(file_stem(relative.rpartition("/")[2]))
        fitting = self._by_stem.get(wanted, [])
        return fitting[0] if len(fitting) == 1 else None

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        """Names without case and ending -> paths below the folder of all images with it."""
        paths: dict[str, list[str]] = {}
        for parent, _, names in walk_linked(self.folder):
            for name in names:
                if (stem := file_stem(name)) != name:
                    path = (parent / name).relative_to(self.folder).as_posix()
                    paths.setdefault(plain_name(stem), []).append(path)
        return paths

    def _below(self, parts: list[str]) -> list[str]:
        """The parts of a path without those that lead to the folder itself."""
        for count in range(len(parts) - 1, 0, -1):
            if tuple(parts[:count]) == self._parts[-count:] and not (self.folder / parts[0]).exists():
                return parts[count:]
        return parts

    def _entry(self, parent: Path, name: str, suffixes: Sequence[str] = ()) -> Path | None:
        if not suffixes and (parent / name).is_dir():
            return parent / name
        names = self._names(parent)
        fitting = names.get(plain_name(name), [])
        if not fitting and file_stem(name, suffixes) == name:
            fitting = [n for suffix in suffixes for n in names.get(plain_name(name) + suffix, [])]
        if len(fitting) > 1:
            raise UserError(
                f"{parent / name} could be {' or '.join(sorted(fitting))}: "
                "write the whole name, or remove one of the files"
            )
        return parent / fitting[0] if fitting else None

    def _names(self, folder: Path) -> dict[str, list[str]]:
        """Names without case and in composed form -> the names of the files."""
        if folder not in self._listed:
            names: dict[str, list[str]] = {}
            if folder.is_dir():
                with os.scandir(folder) as entries:
                    for entry in entries:
                        names.setdefault(plain_name(entry.name), []).append(entry.name)
            self._listed[folder] = names
        return self._listed[folder]


def folder_named(parent: Path, name: str) -> Path | None:
    """The folder of a name in another one, whatever its case; None if there is none."""
    if not parent.is_dir() or (parent / name).is_dir():
        return parent / name if parent.is_dir() else None
    return next((p for p in sorted(parent.iterdir()) if p.name.lower() == name.lower() and p.is_dir()), None)


def _inside(path: Path, folder: Path) -> str | None:
    """The path below the folder, or None if it lies elsewhere; links are not followed."""
    full, base = os.path.abspath(path), os.path.abspath(folder)
    return os.path.relpath(full, base).replace(os.sep, "/") if full.startswith(base + os.sep) else None


def plain_name(name: str) -> str:
    """A name as it is compared: without case, and however its accents are stored."""
    return unicodedata.normalize("NFC", name).casefold()
