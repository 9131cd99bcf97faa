"""The progress bar of a step."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.callbacks import TQDMProgressBar

from tag2mask.core.tables import metric


class StepProgressBar(TQDMProgressBar):
    """Lightning's plain-text bar, which also shows in pipes and logs; shares are in percent.

    A share that a network logs, such as ``val/miou``, then looks like the same number in the table of
    scores.
    """

    def __init__(self) -> None:
        super().__init__(refresh_rate=5)

    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The values that are shown after the bar, by name."""
        shown = super().get_metrics(trainer, pl_module)
        return {name: metric(name, v) if isinstance(v, float) else v for name, v in shown.items()}
