"""One runner per run folder."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from tag2mask.artifacts import disk_trouble
from tag2mask.core.errors import UserError
from tag2mask.pipeline.holder import Holder

LOCK_NAME = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What flock says on a file system without locks, as NFS may be."""


class RunLock:
    """Holds a run folder for one runner; a context manager.

    The operating system's lock on the open file decides, so that it ends with its holder however
    that dies; the file's text only tells who it was. Children that are given `fd` hold it
    too: a step that outlives its runner still keeps others out. A file that is deleted keeps nobody
    out, so the holder calls `keep` now and then.

    Args:
        run_dir: the run folder; made when it is not there.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / LOCK_NAME
        self._beside = run_dir / f"{LOCK_NAME}.held"
        self._by_file = False
        self._fd = -1
        self._me = Holder.me()  # once: a machine may get another name

    @property
    def fd(self) -> int:
        """Descriptor of the locked file."""
        return self._fd

    def __enter__(self) -> RunLock:
        """Take the lock.

        Raises:
            UserError: another runner, or a step that it started, is at work in the folder.
        """
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        os.close(self._fd)
        self._fd = -1
        if self._by_file:
            self._beside.unlink(missing_ok=True)

    def keep(self) -> None:
        """Take the lock again where its file was deleted.

        Raises:
            UserError: another runner has come in since, or from a machine on which our lock does not hold.
        """
        path = self._beside if self._by_file else self._path
        try:
            holder = Holder.read(path.read_bytes())
        except FileNotFoundError:
            if path.parent.is_dir():
                self._take_again(path)
            return
        except OSError:  # such as a file server that is away for a moment
            return
        if holder is not None and holder != self._me:
            self._by_file = False  # it is theirs now
            self._refuse(path, f"{path.parent} is in use by {holder}")

    def _take(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            run = self._path.parent
            reuse = f"; --reuse {run} takes over what is done there" if run.is_dir() else ""
            raise UserError(f"cannot write to {run}: {disk_trouble(error)}{reuse}") from error
        try:
            self._lock()
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, self._me.note(), 0)
        except OSError as error:
            self.__exit__(None, None, None)
            raise UserError(f"cannot write {self._path}: {disk_trouble(error)}") from error
        except UserError:
            self.__exit__(None, None, None)
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # the latter on shares of Windows
            raise self._locked() from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise UserError(
                    f"cannot lock {self._path}: {error.strerror}; choose a --run-dir on another file system"
                ) from error
            self._hold_by_file()

    def _hold_by_file(self) -> None:
        """Hold the folder by a file that only one runner can make, where the file system has no locks."""
        try:
            self._beside.touch(exist_ok=False)
        except FileExistsError:
            holder = Holder.read(self._beside.read_bytes())
            if holder is None or not holder.has_ended():
                way = f"wait for it, or delete {self._beside} if it has ended"
                raise self._in_use(str(holder or "some other runner"), way) from None
        try:
            self._beside.write_bytes(self._me.note())
        except OSError as error:
            self._beside.unlink()
            raise UserError(f"cannot write {self._beside}: {disk_trouble(error)}") from error
        self._by_file = True
        print(f"{self._path.parent} is on a file system without locks: {self._beside.name} stands for one")

    def _take_again(self, path: Path) -> None:
        before, self._by_file = self._fd, False
        try:
            self._take()
        except UserError as error:
            self._fd = before
            self._refuse(path, str(error))
        os.close(before)
        print(f"{path} was deleted, and is made again: it keeps other runners out", flush=True)

    def _refuse(self, path: Path, why: str) -> NoReturn:
        raise UserError(
            f"{path} was deleted, or its lock does not hold on every machine; this run ends: {why}"
        )

    def _locked(self) -> UserError:
        holder, way = None, "wait for it or stop it"
        with suppress(PermissionError):  # a share of Windows keeps a locked file from being read, too
            holder = Holder.read(os.pread(self._fd, 4096, 0))
        if holder is not None and holder.host != self._me.host:
            # a file server may keep the lock of a machine that has died, for minutes or for good
            way += f"; if that machine is gone for good, delete {self._path}"
        return self._in_use(str(holder or "another runner"), way)

    def _in_use(self, who: str, way: str) -> UserError:
        return UserError(f"{self._path.parent} is in use by {who} or a step that it started; {way}")
