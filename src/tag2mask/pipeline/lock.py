"""One runner per run folder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from pathlib import Path
from types import TracebackType

from tag2mask.core.errors import UserError

LOCK_NAME = ".lock"


class RunLock:
    """Holds a run folder for one runner; a context manager.

    The operating system's lock on the open file decides, so that it ends with its holder however
    that dies; the file's text only tells who it was. Children that are given `fd` hold it
    too: a stage that outlives its runner still keeps others out.

    Args:
        run_dir: the run folder; made when it is not there.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / LOCK_NAME
        self._fd = -1

    @property
    def fd(self) -> int:
        """Descriptor of the locked file."""
        return self._fd

    def __enter__(self) -> RunLock:
        """Take the lock.

        Raises:
            UserError: another runner, or a stage that it started, is at work in the folder.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(f"cannot write to {self._path.parent}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            who = self._holder()
            os.close(self._fd)
            raise UserError(
                f"{self._path.parent} is in use by {who} or a stage that it started; wait for it or stop it"
            ) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        os.close(self._fd)
        self._fd = -1

    def _holder(self) -> str:
        try:
            plain = json.loads(os.pread(self._fd, 4096, 0))
            return f"process {plain['pid']} on {plain['host']}"
        except (ValueError, KeyError, TypeError):
            return "another runner"
