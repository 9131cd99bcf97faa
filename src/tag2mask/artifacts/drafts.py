"""Folders that are written under another name until they are whole, and those that killed processes left."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tag2mask.artifacts.files import shared

_NEW = 60.0
"""Seconds for which a draft may have no lock yet: it has just been made."""


@contextmanager
def draft_of(folder: Path) -> Iterator[Path]:
    """A new empty folder beside one that is to be made; it is deleted at the end unless it was renamed.

    Drafts of processes that were killed are cleared away. Those of running ones are locked; where the
    file system has no locks, all stay.

    Args:
        folder: what is to be made; its parent is made if it is missing.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    handle = os.open(draft, os.O_RDONLY)
    try:
        draft.chmod(shared(0o777))  # mkdtemp gives a private folder, but this one is to stay
        _lock(handle)
        # the clock of the file system tells the age of others: on a shared one, ours may be minutes off
        _remove_abandoned(folder, draft.stat().st_mtime)
        yield draft
    finally:
        os.close(handle)
        shutil.rmtree(draft, ignore_errors=True)


def _remove_abandoned(folder: Path, now: float) -> None:
    name = re.compile(rf"\.{re.escape(folder.name)}\.[a-z0-9_]{{8}}")  # as mkdtemp makes them
    for draft in folder.parent.iterdir():
        if name.fullmatch(draft.name) and draft.is_dir() and not draft.is_symlink():
            with suppress(OSError):  # another process may be at it
                if now - draft.stat().st_mtime > _NEW and _is_free(draft):
                    shutil.rmtree(draft, ignore_errors=True)


def _is_free(draft: Path) -> bool:
    handle = os.open(draft, os.O_RDONLY)
    try:
        return _lock(handle)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
