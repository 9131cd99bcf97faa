"""PSA's first losses with a fixed seed: a change of the numbers has to be meant."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tag2mask.backbones import BackboneSpec
from tag2mask.heads import HeadSpec
from tag2mask.modules import AffinityNet, Classifier, SegmentationModel

LIGHT = BackboneSpec("test_resnet", "none", batchnorm="train")
CLASSIFIER_LOSSES = [0.953751, 0.769700, 0.637194]
AFFINITY_LOSSES = [0.932263, 0.896948, 0.866555]
SEGMENTATION_LOSSES = [1.100639, 1.010121, 0.930906]
# Float32 sums in another order (another CPU, another release of torch) move losses of about 1 by some
# 1e-6 in the first step, and more after each update; the losses themselves change by 1e-2 a step.
TOLERANCE = 1e-3


def batch() -> dict[str, Any]:
    torch.manual_seed(0)
    place = torch.arange(96) // 16
    labels = ((place[:, None] * 6 + place) % 3).expand(2, 96, 96).clone()
    return {
        "image": torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8),
        "tags": torch.tensor([[1.0, 0.0], [1.0, 1.0]]),
        "label": labels,
        "fg_labels": labels,
        "bg_labels": labels,
    }


def test_first_losses_of_the_classifier(first_losses: Any) -> None:
    data = batch()
    module = Classifier(2, LIGHT, dropout=0.0)
    assert first_losses(module, data, 0.05) == pytest.approx(CLASSIFIER_LOSSES, abs=TOLERANCE)


def test_first_losses_of_the_affinity_network(first_losses: Any) -> None:
    data = batch()
    module = AffinityNet(2, LIGHT)
    assert first_losses(module, data, 0.05) == pytest.approx(AFFINITY_LOSSES, abs=TOLERANCE)


def test_first_losses_of_the_segmentation_network(first_losses: Any) -> None:
    data = batch()
    module = SegmentationModel(2, LIGHT, head=HeadSpec("deeplabv2"))
    assert first_losses(module, data, 0.05) == pytest.approx(SEGMENTATION_LOSSES, abs=TOLERANCE)
