"""What loggers get: the same values in each, and points enough to see a curve of a short training."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tag2mask.callbacks import LogSteps, Throughput


class _Line(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0]))

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        loss = ((self.weight * batch[0] - 3.0) ** 2).mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def fit(folder: Path, batches: int, epochs: int = 1) -> tuple[Path, Path]:
    """Train, and give the folders of CSV and TensorBoard."""
    csv_logger, board = (kind(str(folder / kind.__name__), "") for kind in (CSVLogger, TensorBoardLogger))
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=[csv_logger, board], enable_checkpointing=False,
        callbacks=[LogSteps(), Throughput()], enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(_Line(), DataLoader(TensorDataset(torch.ones(batches, 1)), batch_size=1))
    return Path(csv_logger.log_dir), Path(board.log_dir)


def of_csv(folder: Path, name: str) -> list[tuple[int, float]]:
    with (folder / "metrics.csv").open() as file:
        return [(int(row["step"]), float(row[name])) for row in csv.DictReader(file) if row[name]]


def test_csv_and_tensorboard_get_the_same_values(tmp_path: Path) -> None:
    table, board = fit(tmp_path, batches=6, epochs=2)
    events = EventAccumulator(str(board), size_guidance={"scalars": 0})
    events.Reload()
    names = {"train/loss", "speed/images_per_s"}
    assert names <= set(events.Tags()["scalars"])
    for name in names:
        scalars = [(event.step, event.value) for event in events.Scalars(name)]
        # TensorBoard keeps float32, CSV the digits of Python's own numbers
        assert scalars == [(step, pytest.approx(value, rel=1e-6)) for step, value in of_csv(table, name)]
    assert len(of_csv(table, "train/loss")) == 12 and len(of_csv(table, "speed/images_per_s")) == 2


@pytest.mark.parametrize(
    ("steps", "points"),
    [(12, 12), (240, 120), (999, 111)],  # a hundredth, rounded down: each, each second, each ninth step
)
def test_a_short_training_logs_about_a_hundred_times(tmp_path: Path, steps: int, points: int) -> None:
    assert len(of_csv(fit(tmp_path, steps)[0], "train/loss")) == points


def test_a_long_training_logs_each_fiftieth_step() -> None:
    class Trainer:
        estimated_stepping_batches, log_every_n_steps = 30_000, 7

    trainer = Trainer()
    LogSteps().on_train_start(trainer, _Line())  # type: ignore[arg-type]
    assert trainer.log_every_n_steps == 50
    trainer.estimated_stepping_batches, trainer.log_every_n_steps = float("inf"), 7
    LogSteps().on_train_start(trainer, _Line())  # type: ignore[arg-type]
    assert trainer.log_every_n_steps == 7  # nobody knows how long it is
