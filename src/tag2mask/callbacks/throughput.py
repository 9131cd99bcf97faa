"""Images per second of a training."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl


class Throughput(pl.Callback):
    """Logs ``speed/images_per_s`` after each epoch, loading of the images included, validation left out."""

    def __init__(self) -> None:
        self._images = 0
        self._seconds = 0.0
        self._since = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        self._images, self._seconds, self._since = 0, 0.0, time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images of all processes."""
        self._images += _size(batch) * trainer.world_size
        self._seconds, self._since = self._seconds + time.monotonic() - self._since, time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the time of the validation out."""
        self._since = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the mean of the epoch."""
        if self._seconds:
            pl_module.log("speed/images_per_s", self._images / self._seconds, rank_zero_only=True)


def _size(batch: Any) -> int:
    """Images of a batch: a list of samples, or tensors stacked by name."""
    return len(batch["image"]) if isinstance(batch, Mapping) else len(batch)
