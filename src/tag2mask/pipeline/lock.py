"""One runner per run folder."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from tag2mask.artifacts import disk_trouble
from tag2mask.core.errors import UserError

LOCK_NAME = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What flock says on a file system without locks, as NFS may be."""


class RunLock:
    """Holds a run folder for one runner; a context manager.

    The operating system's lock on the open file decides, so that it ends with its holder however
    that dies; the file's text only tells who it was. Children that are given `fd` hold it
    too: a step that outlives its runner still keeps others out.

    Args:
        run_dir: the run folder; made when it is not there.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / LOCK_NAME
        self._beside = run_dir / f"{LOCK_NAME}.held"
        self._by_file = False
        self._fd = -1

    @property
    def fd(self) -> int:
        """Descriptor of the locked file."""
        return self._fd

    def __enter__(self) -> RunLock:
        """Take the lock.

        Raises:
            UserError: another runner, or a step that it started, is at work in the folder.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            run = self._path.parent
            reuse = f"; --reuse {run} takes over what is done there" if run.is_dir() else ""
            raise UserError(f"cannot write to {run}: {disk_trouble(error)}{reuse}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # the latter on shares of Windows
            self._refuse_locked()
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(self._fd)
                raise UserError(
                    f"cannot lock {self._path}: {error.strerror}; choose a --run-dir on another file system"
                ) from error
            self._hold_by_file()
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, json.dumps(_me()).encode(), 0)
        except OSError as error:
            self.__exit__(None, None, None)
            raise UserError(f"cannot write {self._path}: {disk_trouble(error)}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        os.close(self._fd)
        self._fd = -1
        if self._by_file:
            self._beside.unlink(missing_ok=True)

    def _hold_by_file(self) -> None:
        """Hold the folder by a file that only one runner can make, where the file system has no locks."""
        try:
            self._beside.touch(exist_ok=False)
        except FileExistsError:
            holder = _noted(self._beside.read_bytes())
            if holder is None or holder["host"] != _me()["host"] or _is_alive(holder["pid"]):
                who = "some other runner" if holder is None else _named(holder)
                self._refuse(who, f"wait for it, or delete {self._beside} if it has ended")
        try:
            self._beside.write_text(json.dumps(_me()), encoding="utf-8")
        except OSError as error:
            self._beside.unlink()
            os.close(self._fd)
            raise UserError(f"cannot write {self._beside}: {disk_trouble(error)}") from error
        self._by_file = True
        print(f"{self._path.parent} is on a file system without locks: {self._beside.name} stands for one")

    def _refuse(self, who: str, way: str) -> NoReturn:
        os.close(self._fd)
        raise UserError(f"{self._path.parent} is in use by {who} or a step that it started; {way}")

    def _refuse_locked(self) -> NoReturn:
        holder, way = None, "wait for it or stop it"
        with suppress(PermissionError):  # a share of Windows keeps a locked file from being read, too
            holder = _noted(os.pread(self._fd, 4096, 0))
        if holder is None:
            self._refuse("another runner", way)
        if holder["host"] != _me()["host"]:
            # a file server may keep the lock of a machine that has died, for minutes or for good
            way += f"; if that machine is gone for good, delete {self._path}"
        self._refuse(_named(holder), way)


def _me() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname()}


def _noted(data: bytes) -> dict[str, Any] | None:
    """What a runner has noted of itself in a lock; None where that is broken or not there yet."""
    try:
        plain = json.loads(data)
    except ValueError:
        return None
    whole = (
        isinstance(plain, dict) and isinstance(plain.get("pid"), int) and isinstance(plain.get("host"), str)
    )
    return plain if whole else None


def _named(holder: dict[str, Any]) -> str:
    return f"process {holder['pid']} on {holder['host']}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0
