"""IAL's first losses with a fixed seed: a change of the numbers has to be meant."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tag2mask.backbones import BackboneSpec
from tag2mask.recipes.ial import PairwiseLearner, RegionClassifier
from tag2mask.recipes.ial.propagation import PropagationSpec

LIGHT = BackboneSpec("test_resnet", "none", batchnorm="train")
REGION_LOSSES = [1.132351, 1.115518, 1.101193]
PAIRWISE_LOSSES = [1.140202, 1.138259, 1.136492]
# Float32 sums in another order (another CPU, another release of torch) move losses of about 1 by some
# 1e-6 in the first step, and more after each update; the losses themselves fall by 2e-3 a step.
TOLERANCE = 2e-4


def images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(0)).float()


def blocks() -> torch.Tensor:
    place = torch.arange(32) // 8
    return place[:, None] * 4 + place


def test_first_losses_of_the_region_network(first_losses: Any) -> None:
    torch.manual_seed(0)
    module = RegionClassifier(2, LIGHT, hidden=[8], dropout=0.0)
    batch = [
        {"id": str(i), "image": image, "superpixels": blocks(), "label": (blocks() + i) % 3}
        for i, image in enumerate(images(2))
    ]
    assert first_losses(module, batch, 0.01) == pytest.approx(REGION_LOSSES, abs=TOLERANCE)


def test_first_losses_of_the_pairwise_network(first_losses: Any) -> None:
    torch.manual_seed(0)
    module = PairwiseLearner(2, LIGHT, propagation=PropagationSpec(4, [8, 8, 8]), reduction="mean")
    labels = (blocks() % 3).expand(2, 2, 32, 32)
    maps = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(1)).softmax(2)
    batch = {
        "image": images(4).view(2, 2, 3, 32, 32),
        "maps": maps,
        "label": labels,
        "superpixels": blocks().expand(2, 2, 32, 32),
    }
    assert first_losses(module, batch, 0.01) == pytest.approx(PAIRWISE_LOSSES, abs=TOLERANCE)
