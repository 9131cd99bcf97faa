"""What may happen to a run, and what it must answer."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STRIKES = ("power cut", "stage killed", "SIGTERM", "SIGUSR1", "disk full", "image gone")
"""power cut: SIGKILL to all processes; stage killed: SIGKILL to the stage alone, as for want of memory."""

_BETWEEN = 5.0
_CODES = {"power cut": (-9,), "stage killed": (137,), "SIGTERM": (75,), "SIGUSR1": (75,), "disk full": (1, 2)}

_NO_REPORT = "the report could not be written (exit code 137); the scores are complete"
"""Said where the strike came late and met the last process: the run is complete but for this page."""


def tree(pid: int) -> list[int]:
    """A process and all that it has started, itself first."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(below for child in children for below in tree(int(child)))]


def strike(kind: str, runner: int) -> None:
    """Let it happen to a running runner; `image gone` is done by `hidden`."""
    processes = tree(runner)
    until = time.monotonic() + _BETWEEN
    while kind == "stage killed" and len(processes) == 1 and time.monotonic() < until:
        processes = tree(runner)  # the runner is at work itself, and its next child comes at once
    with contextlib.suppress(ProcessLookupError):
        if kind == "power cut":
            for pid in processes:
                os.kill(pid, signal.SIGKILL)
        elif kind == "stage killed":
            for pid in processes[1:]:
                os.kill(pid, signal.SIGKILL)
        elif kind == "disk full":
            for pid in processes:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        elif kind in ("SIGTERM", "SIGUSR1"):
            os.kill(runner, getattr(signal, kind))


@contextlib.contextmanager
def hidden(image: Path) -> Iterator[None]:
    """An image that is not there for a while."""
    away = image.with_name(f"{image.name}.away")
    image.rename(away)
    try:
        yield
    finally:
        away.rename(image)


@dataclass(frozen=True)
class Struck:
    """A strike and what came of it.

    Attributes:
        recipe: the recipe.
        step: the step that it was meant for.
        kind: one of `STRIKES`.
        code: exit code of the runner.
        said: what it printed.
        ended: the run was over before.
    """

    recipe: str
    step: str
    kind: str
    code: int
    said: str
    ended: bool = False

    def fault(self, image: Path) -> str:
        """What is wrong with the answer, "" if nothing is.

        Args:
            image: the one that was hidden.
        """
        # A process that is killed says nothing; a stage that is killed may end within the words of another.
        if "Traceback" in self.said:
            return "a traceback"
        if self.ended and self.code == 0:
            return ""
        if self.kind == "image gone":
            named = self.code == 2 and image.name in self.said
            return "" if self.code == 0 or named else f"exit code {self.code}, and the image is not named"
        if self.kind == "stage killed" and self.code == 1 and _NO_REPORT in self.said:
            return ""
        if self.code not in _CODES[self.kind]:
            return f"exit code {self.code}"
        full = "make room" in self.said or "is not written any more" in self.said
        return "" if self.kind != "disk full" or full else "nothing is said of the disk"
