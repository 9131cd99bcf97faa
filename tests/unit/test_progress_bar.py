"""The progress bar of a step."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor

from tag2mask.callbacks import StepProgressBar


class _Logs(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_index: int) -> Tensor:
        self.log("val/miou", 0.6266, prog_bar=True)
        self.log("train/loss", 0.6266, prog_bar=True)
        return self.layer(batch).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_shares_are_in_percent() -> None:
    bar, network = StepProgressBar(), _Logs()
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[bar],
    )
    trainer.fit(network, torch.utils.data.DataLoader(torch.ones(2, 1)))
    assert bar.get_metrics(trainer, network) == {"val/miou": "62.7 %", "train/loss": "0.6266"}
