"""Processes that begin with everything imported: forks of a server that has done it once."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tag2mask.step"])
_NUMBERS = itertools.count()


class Done(NamedTuple):
    """A process that has ended: its exit code, minus the signal that ended it, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


class Process:
    """A new process that calls a function of a module.

    Args:
        folder: for what it prints; it must be there.
        environment: variables of its own.
        work: what it calls; its result is the exit code.
        args: plain arguments.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str], work: Callable[..., int], *args: Any
    ) -> None:
        name = f"{work.__name__}-{next(_NUMBERS)}"
        self._outputs = [folder / f"{name}.{end}" for end in ("out", "err")]
        given = (list(map(str, self._outputs)), dict(environment), torch.get_num_threads(), work, args)
        self._process = _SERVER.Process(target=_call, args=given)
        self._process.start()

    def wait(self, seconds: float = 300) -> Done:
        """Wait for its end."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            self._process.kill()
            raise TimeoutError(f"still at work after {seconds} s: {self._outputs[1].read_text()[-3000:]}")
        return Done(self._process.exitcode, *(path.read_text() for path in self._outputs))


def _call(
    outputs: list[str], environment: dict[str, str], threads: int, work: Callable[..., int], args: Any
) -> None:
    for descriptor, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ.update(environment)
    torch.set_num_threads(threads)
    sys.exit(work(*args))
