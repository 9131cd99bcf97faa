"""Child processes, with their output on the terminal and in a log; and one runner per run folder."""

from __future__ import annotations

import codecs
import errno
import fcntl
import json
import os
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn

from tag2mask.artifacts import disk_trouble
from tag2mask.core.errors import UserError
from tag2mask.pipeline.signals import PassedOn, Stopped, end_group

LOCK_NAME = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What flock says on a file system without locks, as NFS may be."""
_POLL = 0.2  # seconds between looks at a child that is silent


class LineLog:
    r"""Keeps whole lines of a stream of text; what a line overwrote with ``\r`` is left out.

    Progress bars redraw their line many times a second: only the last state is worth a log.
    """

    def __init__(self, file: IO[str] | None) -> None:
        self._file = file
        self._line = ""

    def write(self, text: str) -> None:
        """Take the next piece of the stream."""
        *lines, rest = (self._line + text).split("\n")
        for line in lines:
            self._keep(line)
        # beyond the last \r nothing of an unfinished line can show up again
        head, _, tail = rest.rstrip("\r").rpartition("\r")
        self._line = tail + rest[len(rest.rstrip("\r")) :] if head else rest

    def close(self) -> None:
        """Write an unfinished last line."""
        if self._line.strip():
            self._keep(self._line)
        self._line = ""

    def _keep(self, line: str) -> None:
        line = line.rstrip("\r").rpartition("\r")[2]
        if self._file is None:
            return
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            # The step itself may still have room for what it writes, or says what it lacks.
            print(f"{self._file.name} is not written any more: {error.strerror}", file=sys.stderr)
            self._file = None


def run_child(words: Sequence[str], log: Path | None = None, keep_open: Sequence[int] = ()) -> int:
    """Run a command to its end and return its exit code (128 + N when signal N ended it).

    What it prints goes to our standard output and error as it comes, and line by line to the log.
    Ctrl-C (or a request to end) is passed on to the child once; a second one ends it and all that
    it started.

    Args:
        words: the command line.
        log: file to append the output to.
        keep_open: descriptors that the child inherits.

    Raises:
        Stopped: we were asked to stop; the child has ended by then.
    """
    with open(log, "a", encoding="utf-8") if log else nullcontext() as file, PassedOn() as signals:
        # a session of its own: the terminal's Ctrl-C reaches us only, and the child gets it once
        try:
            child = subprocess.Popen(
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=tuple(keep_open),
                env=_environment(),
            )
        except FileNotFoundError as error:
            raise UserError(f"cannot start {words[0]}: there is no such program here") from error
        signals.pass_to(child)
        try:
            _copy_output(child, file)
        except BaseException:  # such as a pipe that nobody reads any more: no step outlives its runner
            _end(child)
            raise
        code = child.wait()
    if signals.received:
        raise Stopped(signals.received[0])
    return code if code >= 0 else 128 - code


def _environment() -> dict[str, str]:
    width = str(shutil.get_terminal_size().columns)
    # the log is in UTF-8, whatever the terminal is
    return {"COLUMNS": width, **os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


def _end(child: subprocess.Popen[bytes]) -> None:
    end_group(child)
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()  # it would wait for us to read what it says at its end
    child.wait()


class _Stream:
    """One output of a child, on its way to ours and to the log."""

    def __init__(self, pipe: IO[bytes], target: IO[str], file: IO[str] | None) -> None:
        self.pipe = pipe
        self._target = target
        self._log = LineLog(file)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._last = "\n"

    def copy(self) -> bool:
        """Pass on the output that is there; return False at the end."""
        data = os.read(self.pipe.fileno(), 65536)
        text = self._decoder.decode(data, final=not data)
        self._log.write(text)
        self._target.write(text)
        self._target.flush()
        self._last = text[-1:] or self._last
        return bool(data)

    def close(self) -> None:
        """Finish the last line, so that the next output starts a line of its own."""
        self.pipe.close()
        self._log.close()
        if self._last != "\n":
            self._target.write("\n")
            self._target.flush()


def _copy_output(child: subprocess.Popen[bytes], file: IO[str] | None) -> None:
    assert child.stdout is not None and child.stderr is not None
    streams = [_Stream(child.stdout, sys.stdout, file), _Stream(child.stderr, sys.stderr, file)]
    waiting = list(streams)
    while waiting:
        ready, _, _ = select.select([s.pipe for s in waiting], [], [], _POLL)
        waiting = [s for s in waiting if s.pipe not in ready or s.copy()]
        if not ready and child.poll() is not None:
            # it has ended, but something that it started still holds a pipe
            end_group(child)
            break
    for stream in streams:
        stream.close()


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
        with suppress(PermissionError):
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
