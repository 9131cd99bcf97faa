"""Parity of `seam` (Wang et al., CVPR 2020): numbers that the published code printed for these inputs.

It ran on the CPU in float64, outside this repository, on tensors that anyone can make again: sines.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.backbones import Tap
from tag2mask.recipes.seam import (
    PixelCorrelation,
    cross_regularisation,
    equivariant_regularisation,
    least_foreground,
    stretched,
)
from tag2mask.recipes.seam.correlation import aligned

CLASSES, SIDE, SMALL = 20, 40, 12
TAGS = (3, 7)
ER, ECR, LEAST = 0.04147305736859914, 0.590973725979479, 0.6896924353586694
"""As printed for `views` and for the maps of `test_least_foreground`."""
SUMS = [0.12163031811363742, 1.952234391287297, 0.943912013811215, 1.050574976227801]
"""Sums of the refined background and of the first three refined classes of `test_pixel_correlation`."""
CORNERS = [0.0032032259147589657, 0.0042598768033721935, 0.00520379625711497, 0.004102005615906266]
"""Four cells of the refined background there."""


def wave(*shape: int, pace: float) -> Tensor:
    """Sines of the places in a tensor, float64."""
    count = torch.Size(shape).numel()
    return torch.sin(torch.arange(count, dtype=torch.float64) * pace).reshape(shape)


def tagged() -> Tensor:
    tags = torch.zeros(1, CLASSES, 1, 1, dtype=torch.float64)
    tags[0, list(TAGS)] = 1
    return tags


def views() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Maps and refined maps of a crop, made small, and those of the small crop; of the tags alone."""
    tags = tagged()
    with_background = torch.cat([torch.ones(1, 1, 1, 1, dtype=torch.float64), tags], 1)
    maps = aligned(stretched(wave(1, CLASSES, SIDE, SIDE, pace=0.013)), (SMALL, SMALL)) * tags
    of_small = stretched(wave(1, CLASSES, SMALL, SMALL, pace=0.07)) * tags
    refined = aligned(stretched(wave(1, CLASSES + 1, SIDE, SIDE, pace=0.017)), (SMALL, SMALL))
    refined_small = stretched(wave(1, CLASSES + 1, SMALL, SMALL, pace=0.09))
    return maps, of_small, refined * with_background, refined_small * with_background


def test_both_regularisations() -> None:
    maps, of_small, refined, refined_small = views()
    # float64 on both sides
    assert equivariant_regularisation(maps, of_small).item() == pytest.approx(ER, rel=1e-9)
    cross = cross_regularisation(of_small, refined) + cross_regularisation(maps, refined_small)
    assert cross.item() == pytest.approx(ECR, rel=1e-9)


def test_least_foreground() -> None:
    refined = wave(1, CLASSES, SIDE, SIDE, pace=0.017).abs() * tagged()
    assert least_foreground(refined).item() == pytest.approx(LEAST, rel=1e-9)


def test_pixel_correlation() -> None:
    taps = {"conv4": Tap(6, 8), "conv5": Tap(10, 8), "out": Tap(12, 8)}
    module = PixelCorrelation(SimpleNamespace(taps=taps, affinity_taps=("conv4", "conv5", "out")))  # type: ignore[arg-type]
    with torch.no_grad():
        for index, weight in enumerate(module.parameters()):
            weight.copy_(wave(*weight.shape, pace=0.7 + index))
    features = {"conv4": wave(1, 6, 5, 5, pace=0.31), "conv5": wave(1, 10, 5, 5, pace=0.57)}
    maps, image = wave(1, CLASSES, 5, 5, pace=0.23), wave(1, 3, SIDE, SIDE, pace=0.011)
    refined = module.double()(maps, features, image)
    # ours compares in float32
    assert refined.sum((2, 3))[0, :4].tolist() == pytest.approx(SUMS, rel=1e-5)
    assert F.interpolate(refined, (2, 2))[0, 0].flatten().tolist() == pytest.approx(CORNERS, rel=1e-5)
