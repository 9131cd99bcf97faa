"""The fused affinity loss against a loop over single pairs, and its gradient against differences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from tag2mask.losses import affinity_loss
from tag2mask.ops import half_plane_offsets, pair_distances

ENGINES = ["numba", "torch"]


def loss_by_pairs(features: torch.Tensor, labels: torch.Tensor, radius: int, border: str) -> torch.Tensor:
    """Autograd through one pair at a time."""
    batch, _, height, width = features.shape
    cells = list(itertools.product(range(height), range(width)))
    terms: dict[str, list[torch.Tensor]] = {"bg": [], "fg": [], "neg": []}
    for b, ((y, x), (v, u)) in itertools.product(range(batch), itertools.combinations(cells, 2)):
        inner = y < height - radius + 1 and radius - 1 <= x < width - radius + 1
        near = (v - y) ** 2 + (u - x) ** 2 < radius**2
        one, two = int(labels[b, y, x]), int(labels[b, v, u])
        if not near or (border == "psa" and not inner) or 255 in (one, two):
            continue
        affinity = torch.exp(-(features[b, :, y, x] - features[b, :, v, u]).abs().mean())
        if one != two:
            terms["neg"].append(-torch.log(1 + 1e-5 - affinity))
        else:
            terms["bg" if one == 0 else "fg"].append(-torch.log(affinity + 1e-5))
    means = {k: sum(v, torch.zeros(())) / (len(v) + 1e-5) for k, v in terms.items()}
    return means["bg"] / 4 + means["fg"] / 4 + means["neg"] / 2


def problem(height: int, width: int, batch: int = 2, channels: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    features = torch.tensor(rng.normal(size=(batch, channels, height, width)), requires_grad=True)
    labels = torch.tensor(rng.choice([0, 0, 1, 2, 255], (batch, height, width)))
    return features, labels


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("border", "radius", "size"),
    [("psa", 5, (7, 11)), ("all", 5, (5, 6)), ("all", 3, (2, 2)), ("psa", 3, (8, 6))],
)
def test_loss_and_gradient_equal_the_loop(border, radius, size, engine):
    features, labels = problem(*size)
    expected = loss_by_pairs(features, labels, radius, border)
    (slope,) = torch.autograd.grad(expected, features)
    loss, _ = affinity_loss(features, labels, radius, border, engine=engine)
    (gradient,) = torch.autograd.grad(loss, features)
    # float64 on both sides; only the order of the sums differs
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-12)
    assert float((gradient - slope).abs().max()) < 1e-12


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("border", ["all", "psa"])
def test_gradcheck(border, engine):
    features, labels = problem(5, 9, batch=1, channels=3)
    # steps of 1e-6 stay clear of the kinks: random features differ by far more
    assert torch.autograd.gradcheck(
        lambda x: affinity_loss(x, labels, border=border, engine=engine)[0], (features,), eps=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_distances_by_definition(engine):
    features = problem(4, 5)[0].detach()
    planes = pair_distances(features, radius=3, engine=engine)[1]
    for index, (dy, dx) in enumerate(half_plane_offsets(3)):
        for y, x in itertools.product(range(4), range(5)):
            inside = y + dy < 4 and 0 <= x + dx < 5
            here, there = features[1, :, y, x], features[1, :, y + dy, x + dx] if inside else None
            expected = 0.0 if there is None else float((here - there).abs().mean())
            assert float(planes[index, y, x]) == pytest.approx(expected, abs=1e-15)


def test_float32_against_float64_at_full_size():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 448, 56, 56, generator=generator)
    labels = torch.randint(0, 3, (1, 56, 56), generator=generator)
    results = []
    for x, engine in [(features, "numba"), (features.double(), "torch")]:
        x.requires_grad_()
        loss, _ = affinity_loss(x, labels, engine=engine)
        loss.backward()
        results.append((float(loss.detach()), x.grad.double()))
    (single, slope), (double, exact) = results
    assert math.isclose(single, double, rel_tol=1e-5)  # sums of 85,000 float32 terms
    # A handful of differences round to 0 or change sign in float32; each is one of 448 in its mean.
    assert float((slope - exact).abs().mean()) < 1e-4 * float(exact.abs().mean())
