"""A running mean of the weights, also in training on several processes."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EMAWeightAveraging


class RunningMean(EMAWeightAveraging):
    """Lightning's exponential moving average of the weights, whose copy of the module shares the trainer.

    Left alone the copy would try to take along what the module leads to: the trainer, and with it
    the processes that DDP has started, which cannot be copied.

    Args:
        decay: share of the mean that each step keeps.
    """

    def __init__(self, decay: float = 0.98) -> None:
        super().__init__(decay=decay)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Copy the module, but nothing of the trainer."""
        shared: list[Any] = [trainer, trainer.strategy]
        for thing in shared:
            thing.__deepcopy__ = lambda memo, thing=thing: thing
        try:
            super().setup(trainer, pl_module, stage)
        finally:
            for thing in shared:
                del thing.__deepcopy__
