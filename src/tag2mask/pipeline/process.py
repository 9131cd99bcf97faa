"""Child processes, with their output on the terminal and in a log."""

from __future__ import annotations

import codecs
import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import IO

from tag2mask.core.errors import UserError
from tag2mask.pipeline.signals import PassedOn, Stopped, end_group

_POLL = 0.2  # seconds between looks at a child that is silent
WATCH = 10.0
"""Seconds between calls of what looks after the run meanwhile."""


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


def run_child(
    words: Sequence[str],
    log: Path | None = None,
    keep_open: Sequence[int] = (),
    watch: Callable[[], object] = lambda: None,
    without: Collection[str] = (),
) -> int:
    """Run a command to its end and return its exit code (128 + N when signal N ended it).

    What it prints goes to our standard output and error as it comes, and line by line to the log.
    Ctrl-C (or a request to end) is passed on to the child once; a second one ends it and all that
    it started.

    Args:
        words: the command line.
        log: file to append the output to.
        keep_open: descriptors that the child inherits.
        watch: called every `WATCH` seconds; what it raises ends the child and is passed on.
        without: variables of our environment that the child does not get.

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
                env=_environment(without),
            )
        except FileNotFoundError as error:
            raise UserError(f"cannot start {words[0]}: there is no such program here") from error
        signals.pass_to(child)
        try:
            _copy_output(child, file, watch)
        except BaseException:  # such as a pipe that nobody reads any more: no step outlives its runner
            _end(child)
            raise
        code = child.wait()
    if signals.received:
        raise Stopped(signals.received[0])
    return code if code >= 0 else 128 - code


def require_ends_well(program: Sequence[str], command: str, words: Sequence[str]) -> None:
    """Run a command of ours without showing what it prints.

    Args:
        program: how ``tag2mask`` is called.
        command: the command.
        words: what follows it.

    Raises:
        UserError: it failed; in its own words.
    """
    done = subprocess.run([*program, command, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        told = re.search(r"^error: (.*)\Z", done.stderr.strip(), re.DOTALL | re.MULTILINE)
        raise UserError(told[1] if told else f"{command} ended with exit code {done.returncode}")


def _environment(without: Collection[str]) -> dict[str, str]:
    width = str(shutil.get_terminal_size().columns)
    ours = {name: value for name, value in os.environ.items() if name not in without}
    # the log is in UTF-8, whatever the terminal is
    return {"COLUMNS": width, **ours, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


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


def _copy_output(child: subprocess.Popen[bytes], file: IO[str] | None, watch: Callable[[], object]) -> None:
    assert child.stdout is not None and child.stderr is not None
    streams = [_Stream(child.stdout, sys.stdout, file), _Stream(child.stderr, sys.stderr, file)]
    waiting, watched = list(streams), time.monotonic()
    while waiting:
        if time.monotonic() - watched > WATCH:
            watch()
            watched = time.monotonic()
        ready, _, _ = select.select([s.pipe for s in waiting], [], [], _POLL)
        waiting = [s for s in waiting if s.pipe not in ready or s.copy()]
        if not ready and child.poll() is not None:
            # it has ended, but something that it started still holds a pipe
            end_group(child)
            break
    for stream in streams:
        stream.close()
