"""The loss that spares unlikely labels, against its equation and its two limits."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tag2mask.backbones import BackboneSpec
from tag2mask.core import UserError
from tag2mask.losses import GeneralisedCrossEntropy, generalised_cross_entropy
from tag2mask.modules import SegmentationModel


@pytest.fixture
def case() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    labels = torch.randint(0, 4, (2, 5, 6))
    labels[0, :2] = 255
    return torch.randn(2, 4, 5, 6, dtype=torch.double, requires_grad=True), labels


@pytest.mark.parametrize("q", [0.2, 0.7, 1.0])
def test_equation(case: tuple[torch.Tensor, torch.Tensor], q: float) -> None:
    logits, labels = case
    known = labels != 255
    p = logits.softmax(1).gather(1, labels.clamp(max=3)[:, None])[:, 0][known]
    expected = ((1 - p**q) / q).mean()
    # computed as float32
    torch.testing.assert_close(
        generalised_cross_entropy(logits, labels, q).double(), expected, atol=1e-6, rtol=0
    )


def test_gradient_is_that_of_cross_entropy_times_a_power_of_p() -> None:
    logits = torch.tensor([[[[2.0]], [[-1.0]]]], requires_grad=True)
    label = torch.tensor([[[1]]])
    plain = torch.autograd.grad(F.cross_entropy(logits, label), logits)[0]
    found = torch.autograd.grad(generalised_cross_entropy(logits, label, 0.7), logits)[0]
    torch.testing.assert_close(found, plain * logits.detach().softmax(1)[0, 1] ** 0.7)


def test_zero_is_cross_entropy(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = case
    expected = F.cross_entropy(logits, labels, ignore_index=255)
    # float64; the mean is a sum over a count here
    torch.testing.assert_close(GeneralisedCrossEntropy(0)(logits, labels), expected, atol=0, rtol=1e-14)


def test_q_outside_its_range() -> None:
    with pytest.raises(ValueError, match="q must lie"):
        GeneralisedCrossEntropy(1.5)


def test_a_network_becomes_robust_over_its_training(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = BackboneSpec("test_resnet", weights="none", output_stride=16)
    network = SegmentationModel(2, backbone, robustness=0.8)
    monkeypatch.setattr(network, "log", lambda *args, **kwargs: None)
    monkeypatch.setattr(network, "schedule_steps", lambda: 4)
    batch = {"image": torch.zeros(2, 3, 33, 33, dtype=torch.uint8), "label": torch.zeros(2, 33, 33).long()}
    found = []
    for step in (0, 2, 4):
        monkeypatch.setattr(SegmentationModel, "global_step", step)
        network.training_step(batch, 0)
        found.append(network.loss.q)
    assert found == [0.0, 0.4, 0.8]
    with pytest.raises(UserError, match="robustness must lie"):
        SegmentationModel(2, backbone, robustness=2)
