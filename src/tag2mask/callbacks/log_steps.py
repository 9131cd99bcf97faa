"""How often a training logs: often enough to see a curve, also where it is short."""

from __future__ import annotations

import math

import pytorch_lightning as pl

POINTS, SPARSEST = 100, 50


class LogSteps(pl.Callback):
    """Sets the trainer's ``log_every_n_steps`` to a hundredth of the training, at most 50 steps.

    Lightning's own 50 shows four points of a training of 240 steps.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set it, now that the number of steps is known."""
        steps = trainer.estimated_stepping_batches
        if math.isfinite(steps):
            trainer.log_every_n_steps = min(SPARSEST, max(1, int(steps) // POINTS))  # type: ignore[attr-defined]
