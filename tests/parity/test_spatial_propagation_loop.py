"""Spatial propagation against a loop over single places, its gradient against autograd and differences."""

from __future__ import annotations

import itertools

import pytest
import torch

from tag2mask.ops import spatial_propagation

ENGINES = ["numba", "torch"]
STEPS = [(0, 1), (0, -1), (1, 0), (-1, 0)]
"""(rows, columns) by which each direction moves."""


def by_places(x: torch.Tensor, gates: torch.Tensor, floor: float) -> torch.Tensor:
    """The recursion as it is written, one place at a time; autograd gives its gradient."""
    batch, channels, height, width = x.shape
    places = list(itertools.product(range(height), range(width)))
    maps = []
    for b, (d, (down, right)), c in itertools.product(range(batch), enumerate(STEPS), range(channels)):
        h: dict[tuple[int, int], torch.Tensor] = {}
        for i, j in sorted(places, key=lambda place: down * place[0] + right * place[1]):
            before = [(i - down, j + k) if down else (i + k, j - right) for k in (-1, 0, 1)]
            inside = [(gates[b, d, k, c, i, j], h[p]) for k, p in enumerate(before) if p in h]
            total = sum((g.abs() for g, _ in inside), x.new_zeros(())).clamp(min=floor)
            rest = 1 - sum(g for g, _ in inside) / total
            h[i, j] = rest * x[b, c, i, j] + sum(g * value for g, value in inside) / total
        maps.append(torch.stack([h[place] for place in places]))
    return torch.stack(maps).reshape(batch, 4, channels, height, width)


def problem(height: int, width: int, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 2, height, width, generator=generator, dtype=torch.float64)
    gates = torch.randn(2, 4, 3, 2, height, width, generator=generator, dtype=torch.float64) * scale
    return x.requires_grad_(), gates.requires_grad_()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("floor", [1e-4, 1.0])
@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 4), (4, 1)])
def test_value_and_gradient_equal_the_loop(size, floor, engine):
    x, gates = problem(*size)
    weights = torch.randn(2, 4, 2, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = by_places(x, gates, floor)
    slopes = torch.autograd.grad((expected * weights).sum(), (x, gates))
    out = spatial_propagation(x, gates, floor, engine)
    found = torch.autograd.grad((out * weights).sum(), (x, gates))
    # float64 on both sides; the order of the sums differs, and slopes grow with 1 / sum |g|
    assert float((out - expected).detach().abs().max()) < 1e-13
    for slope, one in zip(slopes, found, strict=True):
        assert float((slope - one).abs().max()) < 1e-11


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("floor", "scale"), [(1e-4, 1.0), (1.0, 0.3)])
def test_gradcheck(engine, floor, scale):
    x, gates = problem(3, 4, scale)
    # steps of 1e-6 stay clear of the kinks at gates of 0 and at sums equal to the floor
    assert torch.autograd.gradcheck(
        lambda a, g: spatial_propagation(a, g, floor, engine), (x[:1, :1], gates[:1, :, :, :1])
    )


def test_float32_against_float64_at_full_size():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 8, 64, 64, generator=generator)
    gates = torch.randn(1, 4, 3, 8, 64, 64, generator=generator)
    single = spatial_propagation(x, gates, engine="numba")
    double = spatial_propagation(x.double(), gates.double(), engine="torch")
    # 64 steps, each of which adds a rounding of 6e-8 to numbers of size 10, and none is amplified
    assert float((single - double).abs().max()) < 5e-5
