"""A running mean of the weights that also works in training on several processes."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EMAWeightAveraging


class RunningMean(EMAWeightAveraging):
    """Lightning's exponential moving average of the weights, made safe for DDP.

    Lightning makes a deep copy of the module. The module refers to the trainer, and the trainer to the
    processes that DDP has started, which cannot be copied. Here the copy refers to the same trainer.

    Args:
        decay: share of the mean that each step keeps.
    """

    def __init__(self, decay: float = 0.98) -> None:
        super().__init__(decay=decay)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Copy the module, but not the trainer."""
        shared: list[Any] = [trainer, trainer.strategy]
        for thing in shared:
            thing.__deepcopy__ = lambda memo, thing=thing: thing
        try:
            super().setup(trainer, pl_module, stage)
        finally:
            for thing in shared:
                del thing.__deepcopy__
