"""Losses and walks of 16-bit numbers are those of float32, also where a sum of 16 bits would be infinite."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tag2mask.losses import (
    affinity_loss,
    boundary_loss,
    colour_affinity_loss,
    generalised_cross_entropy,
    known_cross_entropy,
    region_smoothness_loss,
)
from tag2mask.ops import affinity_graph, feature_walk, random_walk

HUGE = 3e4
"""Two such numbers of other signs are further apart than float16 reaches (65,504)."""
LABELS = torch.arange(2 * 9 * 9).reshape(2, 9, 9) % 3
PHOTOS = (torch.arange(2 * 3 * 9 * 9).reshape(2, 3, 9, 9) * 37 % 256).byte()
CASES: dict[str, tuple[float, Callable[[Tensor], Tensor]]] = {
    "affinity": (HUGE, lambda x: affinity_loss(x, LABELS, radius=3)[0]),
    "boundary": (1.0, lambda x: boundary_loss(x.sigmoid()[:, 0], LABELS, radius=3)[0]),
    "colour affinity": (HUGE, lambda x: colour_affinity_loss(x, PHOTOS, size=(9, 9))),
    "region smoothness": (100.0, lambda x: region_smoothness_loss(x.view(2, 1, 1, 4, 9, 9), LABELS)),
    "cross-entropy": (HUGE, lambda x: known_cross_entropy(x, LABELS)),
    "generalised cross-entropy": (HUGE, lambda x: generalised_cross_entropy(x, LABELS, 0.7)),
}


def numbers(scale: float, dtype: torch.dtype) -> Tensor:
    """(2, 4, 9, 9) in -scale..scale, as they are in 16 bits."""
    generator = torch.Generator().manual_seed(0)
    return (scale * (2 * torch.rand(2, 4, 9, 9, generator=generator) - 1)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_losses(name: str, dtype: torch.dtype) -> None:
    scale, loss_of = CASES[name]
    short = numbers(scale, dtype).requires_grad_()
    loss = loss_of(short)
    loss.backward()
    assert loss.dtype == torch.float32 and bool(loss.isfinite())
    if name != "boundary":  # its sigmoid is one of 16 bits here
        assert float(loss.detach()) == float(loss_of(short.detach().float()))
    assert short.grad is not None and short.grad.dtype == dtype and bool(short.grad.isfinite().all())


@pytest.mark.parametrize("name", CASES)
def test_losses_inside_of_autocast(name: str) -> None:
    scale, loss_of = CASES[name]
    plain = numbers(scale, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss_of(plain)
    assert float(inside) == float(loss_of(plain))


def test_walks_inside_of_autocast() -> None:
    """A walk over all pairs was a product of 16-bit matrices there."""
    features, maps = numbers(3.0, torch.float32)[0], numbers(1.0, torch.float32)[1].abs()
    ways = (feature_walk, lambda *given: random_walk(affinity_graph(given[0], 3), given[1]))
    for way in ways:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = way(features, maps)
        assert torch.equal(inside, way(features, maps))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_walk(dtype: torch.dtype) -> None:
    features, maps = numbers(HUGE, dtype)[0], numbers(1.0, dtype)[1].abs()
    walked = random_walk(affinity_graph(features, 3), maps)
    assert walked.dtype == torch.float32
    assert torch.equal(walked, random_walk(affinity_graph(features.float(), 3), maps.float()))
