"""Batch normalisation that trains sees the images of all devices where torch can do that."""

from __future__ import annotations

import logging

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from tag2mask.step.sync import SyncedNorms


def _network(device: str) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), BatchNormAct2d(4)).to(device)


def test_norms_that_train_are_synchronised_and_keep_their_activation() -> None:
    # no GPU is needed to see what becomes of the layers
    network = SyncedNorms().apply(_network("meta"))
    plain, active = list(network.modules())[2:4]
    assert isinstance(plain, nn.SyncBatchNorm) and isinstance(active, nn.SyncBatchNorm)
    assert isinstance(active.act, nn.ReLU)  # type: ignore[attr-defined]


def test_frozen_norms_stay(caplog: pytest.LogCaptureFixture) -> None:
    for device in ("meta", "cpu"):
        network = SyncedNorms().apply(_network(device).eval())
        assert not any(isinstance(layer, nn.SyncBatchNorm) for layer in network.modules())
    assert caplog.text == ""


def test_a_cpu_says_what_it_cannot_do(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        network = SyncedNorms().apply(_network("cpu"))
    assert "results depend on the number of processes" in caplog.text
    assert torch.is_tensor(network(torch.zeros(2, 3, 4, 4)))
