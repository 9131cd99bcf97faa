"""The sparse Chebyshev walk against plain powers of a dense matrix, with pairs found cell by cell."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tag2mask.ops import affinity_graph, random_walk, to_dense

SIZES = [(2, 2), (5, 9), (9, 12), (17, 10), (24, 20)]


def dense_affinities(features: np.ndarray, radius: int, border: str) -> np.ndarray:
    """W from the definition: a loop over all pairs of cells."""
    _, height, width = features.shape
    cells = list(itertools.product(range(height), range(width)))
    matrix = np.eye(len(cells))
    for (i, (y, x)), (j, (v, u)) in itertools.combinations(enumerate(cells), 2):
        near = (v - y) ** 2 + (u - x) ** 2 < radius**2
        inner = y < height - radius + 1 and radius - 1 <= x < width - radius + 1
        if near and (inner or border == "all"):
            difference = np.abs(features[:, y, x] - features[:, v, u]).mean()
            matrix[i, j] = matrix[j, i] = np.exp(-difference)
    return matrix


@pytest.mark.parametrize("engine", ["numba", "torch"])
@pytest.mark.parametrize("kind", ["random", "constant"])
@pytest.mark.parametrize(
    ("border", "size"), [(b, s) for b in ("all", "psa") for s in SIZES if b == "all" or s != (2, 2)]
)
def test_walk_equals_dense_matrix_powers(border, size, kind, engine):
    rng = np.random.default_rng(sum(size))
    features = rng.normal(size=(7, *size)) if kind == "random" else np.full((7, *size), 0.3)
    maps = rng.random((3, *size))
    weights = dense_affinities(features, 5, border)
    graph = affinity_graph(torch.tensor(features), border=border)
    # both in float64; the dense side is a plain loop
    assert np.abs(to_dense(graph).numpy() - weights).max() < 1e-14
    for beta, steps in [(8.0, 256), (2.0, 7), (1.0, 1), (3.5, 64)]:
        power = weights**beta
        # a walk with the matrix on the right of the maps, as published: columns sum to 1
        transition = np.linalg.matrix_power(power / power.sum(0), steps)
        expected = (maps.reshape(3, -1) @ transition).reshape(maps.shape)
        tight = random_walk(graph, torch.tensor(maps), beta, steps, tol=1e-13, engine=engine).numpy()
        assert np.abs(tight - expected).max() < 1e-10  # 256 products in float64, twice the cut at 1e-13
        single = affinity_graph(torch.tensor(features, dtype=torch.float32), border=border)
        default = random_walk(single, torch.tensor(maps), beta, steps, engine=engine).numpy()
        assert np.abs(default - expected).max() < 1e-4  # the bar set for tol=1e-5 in float32


@pytest.mark.parametrize("steps", [4, 256])
def test_repeated_squaring_equals_repeated_application(steps):
    features = torch.randn(4, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    graph = affinity_graph(features, border="psa")
    power = to_dense(graph, 8.0)
    transition = power / power.sum(1, keepdim=True)
    state = torch.rand(81, 2, dtype=torch.float64)
    start = state.clone()
    for _ in range(steps):
        state = transition @ state
    walked = random_walk(graph, start.T.reshape(2, 9, 9), 8.0, steps, tol=1e-12)
    assert torch.allclose(walked.reshape(2, -1).T, state, atol=1e-10)
