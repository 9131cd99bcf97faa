"""Properties that hold for every walk and CRF, on inputs that hypothesis looks for."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tag2mask.ops import CRF_CAM, affinity_graph, dense_crf, random_walk, to_dense

sizes = st.tuples(st.integers(2, 12), st.integers(2, 12))
seeds = st.integers(0, 2**31)
# the published pair set leaves out the last 4 rows and the outer 4 columns: less than that is no map
bordered = st.one_of(
    st.tuples(sizes, st.just("all")),
    st.tuples(st.tuples(st.integers(5, 12), st.integers(9, 14)), st.just("psa")),
)
walks = {"beta": st.sampled_from([1.0, 8.0]), "steps": st.sampled_from([1, 7, 64, 256])}

# Chebyshev's cut (tol 1e-5) and float32 rounding over at most 78 terms
TOLERANCE = {"atol": 5e-5, "rtol": 5e-5}


def problem(size: tuple[int, int], seed: int, maps: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(6, *size, generator=generator)
    return features, torch.rand(maps, *size, generator=generator)


@settings(max_examples=25, deadline=None)
@given(bordered, seeds, walks["beta"], walks["steps"])
def test_a_constant_map_stays_and_no_map_leaves_its_range(kind, seed, beta, steps):
    size, border = kind
    features, maps = problem(size, seed)
    graph = affinity_graph(features, border=border)
    walked = random_walk(graph, torch.cat([maps, torch.full((1, *size), 0.7)]), beta=beta, steps=steps)
    # rows of the transition matrix sum to 1, so every step is a mean
    torch.testing.assert_close(walked[3], torch.full(size, 0.7), **TOLERANCE)
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    assert bool(((walked[:3] >= low - 5e-5) & (walked[:3] <= high + 5e-5)).all())


@settings(max_examples=25, deadline=None)
@given(sizes, seeds, st.permutations(range(3)), walks["steps"])
def test_walk_commutes_with_flips_and_permutations(size, seed, order, steps):
    features, maps = problem(size, seed)
    walked = random_walk(affinity_graph(features), maps, steps=steps)
    permuted = random_walk(affinity_graph(features), maps[list(order)], steps=steps)
    torch.testing.assert_close(permuted, walked[list(order)], **TOLERANCE)
    for axis in (1, 2):
        flipped = random_walk(affinity_graph(features.flip(axis)), maps.flip(axis), steps=steps)
        torch.testing.assert_close(flipped.flip(axis), walked, **TOLERANCE)


@settings(max_examples=25, deadline=None)
@given(bordered, seeds, st.sampled_from([2.0, 8.0]))
def test_affinities_are_symmetric_with_a_diagonal_of_one_and_powers_of_each_other(kind, seed, beta):
    size, border = kind
    features, _ = problem(size, seed)
    graph = affinity_graph(features, border=border)
    matrix = to_dense(graph)
    assert torch.equal(matrix, matrix.T) and bool((matrix >= 0).all()) and bool((matrix <= 1).all())
    assert torch.equal(matrix.diagonal(), torch.ones(len(matrix)))
    # exp(-beta d) against exp(-d) ** beta in float32
    torch.testing.assert_close(to_dense(graph, beta), matrix**beta, rtol=1e-4, atol=1e-7)


@settings(max_examples=10, deadline=None)
@given(st.tuples(st.integers(4, 16), st.integers(4, 16)), seeds, st.permutations(range(3)))
def test_crf_permutes_with_its_labels(size, seed, order):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (3, *size), dtype=np.uint8)
    scores = rng.random((3, *size)).astype(np.float32) + 0.05
    refined = dense_crf(image, scores, CRF_CAM)
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-5)  # a softmax in float32
    permuted = dense_crf(image, scores[list(order)], CRF_CAM)
    # sums over the labels are taken in another order
    np.testing.assert_allclose(permuted, refined[list(order)], atol=1e-4)
