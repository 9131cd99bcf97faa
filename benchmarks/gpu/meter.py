"""A Lightning callback that measures a step while it runs: images/s, the GPU's share, who waits for whom."""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from benchmarks.gpu.record import append
from tag2mask.core import usable_cpus

_LOOK = 0.05
"""Seconds between two looks at the GPU and the cores."""


class Meter(pl.Callback):
    """Measures from the end of the first batches, which compile and fill caches, to the last one.

    Args:
        path: file of JSON lines that gets a row when the command ends.
        skip: batches before the clock starts.
    """

    def __init__(self, path: str, skip: int = 6) -> None:
        self.path = Path(path)
        self.skip = skip
        self._batches = self._images = 0
        self._start = self._ended = self._waited = self._aside = self._left = 0.0
        self._watch = _Watch()

    def on_train_batch_start(self, trainer: pl.Trainer, *rest: Any) -> None:
        self._begin()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, *rest: Any
    ) -> None:
        self._end(batch)

    def on_predict_batch_start(self, trainer: pl.Trainer, *rest: Any) -> None:
        self._begin()

    def on_predict_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, *rest: Any
    ) -> None:
        self._end(batch)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._left = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Validation is neither training nor waiting for its data."""
        if self._start and self._left:
            passed = time.perf_counter() - self._left
            self._aside += passed
            self._ended += passed

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._write("fit", trainer)

    def on_predict_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._write("predict", trainer)

    def _begin(self) -> None:
        if self._ended:
            self._waited += time.perf_counter() - self._ended

    def _end(self, batch: Any) -> None:
        self._batches += 1
        if self._start:
            self._images += count_images(batch)
            self._ended = time.perf_counter()
        elif self._batches >= self.skip:
            _wait_for_gpu()
            self._watch.start()
            self._start = self._ended = time.perf_counter()

    def _write(self, command: str, trainer: pl.Trainer) -> None:
        _wait_for_gpu()
        seconds = time.perf_counter() - self._start - self._aside
        watched = self._watch.stop()
        # The root of a trainer is its step's folder.
        where = {"step": Path(trainer.default_root_dir).name, "command": command}
        if not self._images:
            short = f"{self._batches} batches, of which the first {max(1, self.skip)} are not measured"
            append(self.path, {**where, "failed": short})
            return
        peak = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
        row = {
            **where,
            "precision": str(trainer.precision),
            "images": self._images,
            "seconds": round(seconds, 3),
            "images_per_second": round(self._images / seconds, 2),
            "batches_per_second": round((self._batches - self.skip) / seconds, 3),
            "waited": round(self._waited / seconds, 3),
            "peak_mb": peak,
            **watched,
        }
        append(self.path, {**row, "bound": bound(row)})


def count_images(batch: Any) -> int:
    """Images in a batch: a list of samples, or tensors with the images on the first axis."""
    if isinstance(batch, Mapping):
        return next(len(value) for value in batch.values() if isinstance(value, torch.Tensor))
    if isinstance(batch, Sequence):
        return len(batch)
    raise TypeError(f"a batch of {type(batch).__name__}")


def bound(row: Mapping[str, Any]) -> str:
    """What holds a step up: the GPU, the cores, the loader, or one thread of Python.

    The GPU counts as full from 85 % on, the cores from 80 %: the samples miss starts and ends.
    """
    if (row["gpu"] or 0) >= 0.85:
        return "GPU"
    if row["busy_cores"] >= 0.8 * row["cores"]:
        return "cores"
    if row["waited"] >= 0.3:
        return "loader"
    return "one thread of Python"


def _wait_for_gpu() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class _Watch:
    """Looks at the GPU and the cores from a thread of its own."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._gpu: list[float] = []
        self._thread: threading.Thread | None = None
        self._before = (0.0, 0.0)

    def start(self) -> None:
        self._before = _busy_seconds()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, Any]:
        """Shares since `start`: gpu 0..1 (None without one), busy_cores, cores."""
        self._done.set()
        if self._thread:
            self._thread.join()
        busy, passed = (now - then for now, then in zip(_busy_seconds(), self._before, strict=True))
        return {
            "gpu": round(statistics.mean(self._gpu), 3) if self._gpu else None,
            "busy_cores": round(busy / max(passed, 1e-9), 2),
            "cores": usable_cpus(),
        }

    def _look(self) -> None:
        while not self._done.wait(_LOOK):
            if torch.cuda.is_available():
                # Without NVML's Python package the share stays unknown, and the rest is measured.
                with contextlib.suppress(ModuleNotFoundError, RuntimeError):
                    self._gpu.append(torch.cuda.utilization() / 100)


def _busy_seconds() -> tuple[float, float]:
    """Seconds that all cores together have worked, and seconds that have passed."""
    fields = [int(v) for v in Path("/proc/stat").read_text(encoding="utf-8").split("\n")[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK"), time.perf_counter()
