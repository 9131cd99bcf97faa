"""Stops a step when the cluster asks for it, so that the same command can go on later."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytorch_lightning as pl

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StoppedBySignal(BaseException):
    """The process was asked to stop by a signal. As with Ctrl-C, no ``except Exception`` takes it."""


class StopOnSignal(pl.Callback):
    """Keeps `stop_on_signals` in force while the trainer works; Lightning has handlers of its own.

    Nothing has to be saved first: results and checkpoints on the disk are whole, and the step goes on from
    the last image or epoch.
    """

    def __init__(self) -> None:
        self._asked: list[StoppedBySignal] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back from Lightning."""
        self._asked = stop_on_signals(trainer)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back from Lightning."""
        self._asked = stop_on_signals(trainer)

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        """Stop, if a signal has come whose exception was lost."""
        self._stop_again()

    def on_validation_batch_start(self, *_: Any, **__: Any) -> None:
        """Stop, if a signal has come whose exception was lost."""
        self._stop_again()

    def on_predict_batch_start(self, *_: Any, **__: Any) -> None:
        """Stop, if a signal has come whose exception was lost."""
        self._stop_again()

    def _stop_again(self) -> None:
        for error in self._asked:
            raise error


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Apply `stop_on_signals` within a ``with`` block."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in _SIGNALS} if main else {}
    stop_on_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_on_signals(trainer: pl.Trainer | None = None) -> list[StoppedBySignal]:
    """Let SIGTERM and SIGUSR1 raise `StoppedBySignal` in the main thread of this process.

    Args:
        trainer: its further processes get the signal, too.

    Returns:
        filled with what is raised. Who goes on working has to look there: Python drops what is raised while
        a destructor or a call from C, such as one of numba's compiler, is at work.
    """
    asked: list[StoppedBySignal] = []
    if threading.current_thread() is not threading.main_thread():
        return asked
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a loader process, which has inherited this handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for other in _SIGNALS:
            signal.signal(other, signal.SIG_IGN)  # what is said twice must not disturb the clearing up
        if trainer is not None and trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(number)
        asked.append(StoppedBySignal(signal.Signals(number).name))
        raise asked[0]

    for number in _SIGNALS:
        signal.signal(number, stop)
    return asked
