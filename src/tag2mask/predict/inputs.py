"""The images that a prediction is asked for: files, folders, patterns, and lists on standard input."""

from __future__ import annotations

import glob
import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tag2mask.artifacts.names import IMAGE_SUFFIXES
from tag2mask.core import UserError, map_threads
from tag2mask.data.image_folder import walk_linked
from tag2mask.data.images import check_image
from tag2mask.data.problems import problems_error

STDIN = "-"
"""Stands for a list on standard input, one path on each line."""


@dataclass(frozen=True)
class Job:
    """An image and where its results go.

    Attributes:
        image: the file.
        name: relative path of its results, without ending.
    """

    image: Path
    name: str

    @property
    def file_name(self) -> str:
        """`name` with the ending of the image."""
        return self.name + self.image.suffix


def find_jobs(given: Sequence[str], out: Path) -> list[Job]:
    """Every image once.

    Images of a folder or pattern are named relative to it, others by their file name. Results of
    earlier calls below `out` are no images.

    Args:
        given: files, folders, patterns with ``*``, ``?`` or ``[``, and `STDIN`.
        out: the folder of the results.

    Raises:
        UserError: a path is missing, nothing is found, or two images would share a result.
    """
    owner: dict[str, Path] = {}
    jobs = []
    for word in given:
        for image, root in _found(word, out):
            name = image.relative_to(root).with_suffix("").as_posix()
            if name in owner and os.path.realpath(owner[name]) == os.path.realpath(image):
                continue  # the same file, perhaps by another path
            if name in owner:
                raise UserError(f"{owner[name]} and {image} would both become {name}.png: rename one")
            owner[name] = image
            jobs.append(Job(image, name))
    return jobs


def require_readable(jobs: Sequence[Job]) -> None:
    """Look at the name, the header and the end of every image.

    Raises:
        UserError: what is wrong with all those that cannot be read.
    """

    def problem(job: Job) -> str:
        if _leads_nowhere(job.image):
            return f"{job.image} is a link to a file that is not there: mend or remove it"
        if _is_odd(path := os.path.abspath(job.image)):
            return f"{path.encode('utf-8', 'backslashreplace').decode()} is no name in UTF-8: rename it"
        try:
            check_image(job.image)
        except UserError as error:
            return str(error)
        return ""

    # Threads, as opening files on network disks takes its time.
    problems = [text for text in map_threads(problem, jobs, threads=8) if text]
    if problems:
        raise problems_error(problems, "mend them, or leave them out of the folder or list")


def _found(word: str, out: Path) -> Iterator[tuple[Path, Path]]:
    """Each image with the folder that it is named relative to."""
    path = Path(word)
    if word == STDIN:
        yield from _listed()
    elif path.is_dir():
        yield from ((image, path) for image in _images_in(path, out))
    elif path.is_file():
        yield path, path.parent
    elif glob.has_magic(word):
        yield from _matching(word, out)
    else:
        raise UserError(f"{word} does not exist: give image files, folders, patterns, or {STDIN} for a list")


def _listed() -> Iterator[tuple[Path, Path]]:
    # programs of Windows begin a list with a byte order mark; `find -print0` ends names with a zero
    text = _standard_input().removeprefix("\ufeff")
    lines = [line.rstrip("\r\n") for line in text.split("\0" if "\0" in text else "\n")]
    paths = [Path(line) for line in lines if line.strip()]
    if not paths:
        raise UserError("the list on standard input is empty: give the path of an image on each line")
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}, on the list on standard input, is no file: correct the list")
        yield path, path.parent


def _standard_input() -> str:
    """Its text as the names of files, which may hold bytes that are no UTF-8."""
    if sys.stdin is None:
        raise UserError("standard input is closed: give the list by a pipe, or name the images")
    data = sys.stdin.buffer.read() if isinstance(sys.stdin, io.TextIOWrapper) else sys.stdin.read().encode()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):  # as PowerShell writes files
        return data.decode("utf-16", "replace")
    return os.fsdecode(data)


def _matching(pattern: str, out: Path) -> Iterator[tuple[Path, Path]]:
    fixed = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    root = Path(*fixed)
    _require_apart(root, out)
    files = _images([Path(name) for name in sorted(glob.glob(pattern, recursive=True))], out)
    if not files:
        raise UserError(f"no image matches {pattern} ({', '.join(IMAGE_SUFFIXES)})")
    yield from ((file, root) for file in files)


def _images_in(folder: Path, out: Path) -> list[Path]:
    _require_apart(folder, out)
    files = sorted(place / name for place, _, names in walk_linked(folder) for name in names)
    found = _images(files, None if out.resolve() in folder.resolve().parents else out)
    if not found:
        raise UserError(f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return found


def _require_apart(folder: Path, out: Path) -> None:
    if folder.resolve() == out.resolve():
        raise UserError(f"{out} is the folder of the images: choose another one as --out")


def _images(paths: Sequence[Path], out: Path | None) -> list[Path]:
    """The image files among some paths, also links to nowhere, without those below `out`."""
    named = [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    files = [path for path in named if path.is_file() or _leads_nowhere(path)]
    if out is None:
        return files
    # unlike Path.resolve, realpath bears a link to itself
    results = os.path.realpath(out)
    return [file for file in files if not Path(os.path.realpath(file)).is_relative_to(results)]


def _is_odd(path: str) -> bool:
    """Whether a path holds bytes that are no UTF-8, as old archives leave them: no record can name it."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()
