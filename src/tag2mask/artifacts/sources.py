"""Files of the data set that a result was made from: told by size and time, by content where these differ."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from tag2mask.artifacts.files import atomic_write_text, read_json
from tag2mask.artifacts.hashes import sha256_file
from tag2mask.artifacts.names import IMAGE_SUFFIXES
from tag2mask.core.errors import UserError
from tag2mask.core.threads import map_threads

_THREADS = 8  # opening files takes time on network disks, which threads overlap

Facts = list[int | str]
"""Size in bytes, time of the last change in nanoseconds, SHA-256."""

_hashed: dict[str, Facts] = {}
"""What this process has hashed for a run, or need not hash."""


def note_sources(
    path: Path,
    files: Iterable[str | os.PathLike[str]],
    known: Iterable[Path] = (),
    replace: bool = False,
    without: Iterable[str] = (),
) -> None:
    """Add files to a record of sources.

    Args:
        path: the record; it need not be there.
        files: what is read now.
        known: other records; files that stand there with the same size and time are not read again.
        replace: files of the record that have changed are noted anew, if they are among `files`.
        without: files that the record forgets.

    Raises:
        UserError: a file is missing, or one of the record has changed and may not be replaced.
    """
    forgotten = set(without)
    before = {name: facts for name, facts in read_sources(path).items() if name not in forgotten}
    changed = [] if replace else _changed(before)
    if changed:
        raise UserError(
            f"{changed[0]} has changed since {path.parent} was begun: "
            "move that folder away, or give another --step-dir"
        )
    noted = {name: facts for record in known for name, facts in read_sources(record).items()} | before
    names = list(dict.fromkeys(os.path.abspath(file) for file in files))
    facts = map_threads(lambda name: _facts(name, noted.get(name)), names, _THREADS)
    _write(path, before | dict(zip(names, facts, strict=True)))


def recall_sources(path: Path) -> None:
    """Take from a record of `keep_sources` what need not be hashed again, and forget all else.

    Raises:
        UserError: the record is broken.
    """
    _hashed.clear()  # another run of this process has a record of its own
    _hashed.update(read_sources(path))


def keep_sources(path: Path) -> None:
    """Note what was hashed since `recall_sources`: files whose time alone differs from a step's record.

    That record belongs to the step, and a finished step does not change.

    Args:
        path: the record for `recall_sources`; written only where there is something new.
    """
    before = read_sources(path)
    total = before | _hashed
    if total != before:
        _write(path, total)


def changed_sources(path: Path, moved: tuple[str, str] | None = None) -> list[str]:
    """Files of a record whose content is another one now.

    For one that is gone, it is an image of its name with another ending, if its folder has one that the
    record does not name. Otherwise what is gone has not changed.

    Args:
        path: the record; without one nothing is known to have changed.
        moved: root of the data set when the record was made, and now, from which its files are read.

    Raises:
        UserError: the record is broken.
    """
    record = read_sources(path)
    return _changed({moved_path(name, *moved): facts for name, facts in record.items()} if moved else record)


def has_content(file: str, facts: Facts) -> bool:
    """Whether a file, wherever it lies, has the content that a record knows of one."""
    now = _stat(file)
    return now is not None and not _differs(file, now, facts)


def moved_path(name: str, before: str, now: str) -> str:
    """Where a file of a data set lies now, which may be the root itself.

    Args:
        name: its absolute path.
        before: the root of the data set; one that was relative had some working folder before it.
        now: the root of now.
    """
    above, found, below = f"{name}/".partition(before.rstrip("/") + "/")
    if not found or (above and (not above.endswith("/") or before.startswith("/"))):
        return name
    return os.path.join(os.path.abspath(now), below).rstrip("/")


def content_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, computed once for each size and time of it."""
    found = os.stat(path)
    return _hash_of_list(os.fspath(path), found.st_size, found.st_mtime_ns)


def _changed(record: Mapping[str, Facts]) -> list[str]:
    names = list(record)
    listed = cache(_images_in)  # of this look alone: folders change
    # In a few large shares: a thread's task costs more than a look at a file of a local disk.
    shares = [names[start::_THREADS] for start in range(_THREADS)]

    def look(share: list[str]) -> list[tuple[str, str]]:
        return [(n, other) for n in share if (other := _other_content(n, record, listed))]

    changed = dict(pair for pairs in map_threads(look, shares, _THREADS) for pair in pairs)
    return [changed[name] for name in names if name in changed] if changed else []


def _other_content(
    name: str, record: Mapping[str, Facts], listed: Callable[[str], Mapping[str, list[str]]]
) -> str:
    """The file that stands in the place of one of a record and has other content; "" for none."""
    now = _stat(name)
    if now is not None:
        return name if _differs(name, now, record[name]) else ""
    if os.path.lexists(name) or not name.lower().endswith(IMAGE_SUFFIXES):
        return ""
    for other in listed(os.path.dirname(name)).get(_stem(name), []):
        now = None if other in record else _stat(other)
        if now is not None and _differs(other, now, record[name]):
            return other
    return ""


def _images_in(folder: str) -> dict[str, list[str]]:
    """The images in a folder, by their names without ending and case."""
    found: dict[str, list[str]] = {}
    with suppress(OSError):  # a folder that is gone, too, or away for a moment
        for name in sorted(os.listdir(folder)):
            if name.lower().endswith(IMAGE_SUFFIXES):
                found.setdefault(_stem(name), []).append(os.path.join(folder, name))
    return found


def _stem(name: str) -> str:
    return os.path.splitext(os.path.basename(name))[0].casefold()


def _differs(name: str, now: tuple[int, int], facts: Facts) -> bool:
    if list(now) == facts[:2]:
        return False
    return now[0] != facts[0] or _hash_once(name, *now) != facts[2]


def _facts(name: str, noted: Facts | None) -> Facts:
    now = _stat(name)
    if now is None:
        raise UserError(f"{name} does not exist: check the data root and the lists of the data set")
    if noted is not None and list(now) == noted[:2]:
        return noted
    return [*now, _hash_once(name, *now)]


def _stat(name: str) -> tuple[int, int] | None:
    """Size and time of a file; None for one that is gone or is no file of bytes (a pipe would not end)."""
    try:
        found = os.stat(name)
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def _hash_once(name: str, size: int, changed: int) -> str:
    noted = _hashed.get(name)
    if noted is None or noted[:2] != [size, changed]:
        noted = _hashed[name] = [size, changed, sha256_file(name)]
    return str(noted[2])


@cache
def _hash_of_list(name: str, size: int, changed: int) -> str:
    return sha256_file(name)


def _write(path: Path, record: Mapping[str, Facts]) -> None:
    # Not indented, unlike what people read: with 100,000 files that takes seconds.
    atomic_write_text(path, json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")


def read_sources(path: Path) -> dict[str, Facts]:
    """A record of sources: absolute path -> what is known of it; {} where there is none.

    Raises:
        UserError: the record is broken.
    """
    record = read_json(path) or {}
    if not all(_is_whole(facts) for facts in record.values()):
        raise UserError(f"{path} is not a record of files; delete it and run the step again")
    return record


def _is_whole(facts: object) -> bool:
    return (
        isinstance(facts, list)
        and len(facts) == 3
        and isinstance(facts[0], int)
        and isinstance(facts[1], int)
        and isinstance(facts[2], str)
    )
