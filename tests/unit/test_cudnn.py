"""Where cuDNN is switched off, seen by a network that trains, validates and predicts on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tag2mask.callbacks import CudnnForCrops, cudnn
from tag2mask.core import UserError


class Watching(pl.LightningModule):
    """Notes the flag in each kind of step."""

    def __init__(self, fails: bool = False, groups: int = 2) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 2, 1, groups=groups)
        self.layer = nn.Linear(1, 1)
        self.fails = fails
        self.seen: list[tuple[str, bool]] = []

    def _see(self, what: str) -> None:
        self.seen.append((what, torch.backends.cudnn.enabled))

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        self._see("train")
        return self.layer(batch).mean()

    def validation_step(self, batch: Tensor, index: int) -> None:
        self._see("validate")
        if self.fails:
            raise RuntimeError("a fault")

    def predict_step(self, batch: Tensor, index: int) -> None:
        self._see("predict")

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.fixture(autouse=True)
def flag_of_the_process() -> Iterator[None]:
    with torch.backends.cudnn.flags(enabled=True):
        yield


def run(network: Watching, command: str = "fit") -> set[tuple[str, bool]]:
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, callbacks=[CudnnForCrops()],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data = DataLoader(torch.zeros(2, 1))
    trainer.fit(network, data, data) if command == "fit" else trainer.predict(network, data)
    return set(network.seen)


@pytest.fixture
def as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cudnn, "on_cuda", lambda module: True)


def test_off_for_whole_images_and_on_for_crops(as_on_cuda: None) -> None:
    assert run(Watching()) == {("train", True), ("validate", False)}
    assert run(Watching(), "predict") == {("predict", False)}
    assert torch.backends.cudnn.enabled


def test_on_for_networks_without_depthwise_convolutions(as_on_cuda: None) -> None:
    assert run(Watching(groups=1), "predict") == {("predict", True)}


def test_a_process_without_cudnn_stays_so(as_on_cuda: None) -> None:
    torch.backends.cudnn.enabled = False
    assert run(Watching()) == {("train", False), ("validate", False)}
    assert not torch.backends.cudnn.enabled


def test_on_again_after_an_error(as_on_cuda: None) -> None:
    with pytest.raises(RuntimeError, match="a fault"):
        run(Watching(fails=True))
    assert torch.backends.cudnn.enabled


def test_the_variable_and_the_cpu_leave_it_on(as_on_cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAG2MASK_CUDNN", "always")
    assert run(Watching(), "predict") == {("predict", True)}
    monkeypatch.undo()
    assert run(Watching(), "predict") == {("predict", True)}


def test_another_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAG2MASK_CUDNN", "crop")
    with pytest.raises(UserError, match=r"TAG2MASK_CUDNN.*crop"):
        CudnnForCrops()
