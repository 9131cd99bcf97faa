"""Signals that ask a step to stop."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from tag2mask.callbacks import StopOnSignal, StoppedBySignal, stopping_on_signals


@pytest.mark.parametrize("work", ["train", "validation", "predict"])
def test_a_signal_whose_exception_was_lost_stops_the_next_batch(work: str) -> None:
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(launcher=None))
    callback = StopOnSignal()
    with stopping_on_signals():
        getattr(callback, "on_predict_start" if work == "predict" else "on_train_start")(trainer, None)
        begin = getattr(callback, f"on_{work}_batch_start")
        begin(trainer, None, None, 0)
        with pytest.raises(StoppedBySignal):  # a call from C, such as one of numba's compiler, drops it
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(StoppedBySignal, match="SIGTERM"):
            begin(trainer, None, None, 0)
