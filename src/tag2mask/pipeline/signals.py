"""Signals that a runner is asked to stop with, while it works itself and while a child does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from types import FrameType
from typing import Any, Self

from tag2mask.core.errors import STOPPED_CODE

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Stopped(BaseException):
    """The runner was asked to stop by a signal. As with Ctrl-C, no ``except Exception`` takes it.

    Attributes:
        code: exit code to end with: 75 where a cluster asks to stop, else that of a process that the
            signal ends.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        asked = number in (signal.SIGTERM, signal.SIGUSR1)
        self.code = STOPPED_CODE if asked else 128 + number


class _Handlers(ABC):
    """Something that answers signals while it is entered; those that are ignored (nohup) stay ignored."""

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self.answer)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @abstractmethod
    def answer(self, number: int, frame: FrameType | None) -> None:
        """What is done at a signal."""


class StopAtSignal(_Handlers):
    """Raises `Stopped` at a signal that finds no child to pass it on to; a context manager."""

    def answer(self, number: int, frame: FrameType | None) -> None:
        """Stop."""
        raise Stopped(number)


class PassedOn(_Handlers):
    """Passes the first signal on to the child, also one that comes before it has started; a context manager.

    A second one ends the child and all that it has started.

    Attributes:
        received: the signals so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.received: list[int] = []
        self._child: subprocess.Popen[bytes] | None = None

    def pass_to(self, child: subprocess.Popen[bytes]) -> None:
        """Name the child."""
        self._child = child
        if self.received:
            child.send_signal(self.received[0])

    def answer(self, number: int, frame: FrameType | None) -> None:
        """Pass it on."""
        self.received.append(number)
        if len(self.received) == 1:
            print("\nstopping: waiting for the step to end (once more to kill it)", file=sys.stderr)
        if self._child is not None and len(self.received) == 1:
            self._child.send_signal(number)
        elif self._child is not None:
            end_group(self._child, signal.SIGTERM if len(self.received) == 2 else signal.SIGKILL)


def end_group(child: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
    """Send a signal to a child and all that it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
