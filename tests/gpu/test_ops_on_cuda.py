"""Operators and losses on a CUDA device against the same on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tag2mask.losses import colour_affinity_loss, region_smoothness_loss
from tag2mask.ops import (
    affinity_graph,
    dense_crf,
    feature_walk,
    felzenszwalb,
    guided_filter,
    otsu_threshold,
    random_walk,
    self_guided_filter,
    spatial_propagation,
    to_dense,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same(run, *tensors: torch.Tensor) -> None:
    """Results and gradients of `run` in float64 on both devices."""
    found = []
    for device in ("cpu", "cuda"):
        inputs = [t.to(device).requires_grad_() for t in tensors]
        out = run(*inputs)
        assert out.device.type == device
        slopes = torch.autograd.grad(out.square().sum(), inputs) if out.requires_grad else ()
        found.append([v.detach().cpu() for v in (out, *slopes)])
    for one, other in zip(*found, strict=True):
        # float64; sums in another order
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [(9, 9), (6, 11)])
def test_spatial_propagation(size):
    assert_same(spatial_propagation, noise(2, 3, *size), noise(2, 4, 3, 3, *size, seed=1))


def test_region_smoothness():
    superpixels = torch.randint(-1, 6, (2, 12, 16), generator=torch.Generator().manual_seed(0))
    assert_same(lambda g: region_smoothness_loss(g, superpixels.to(g.device)), noise(2, 4, 3, 2, 6, 8))


@pytest.mark.parametrize("reading", ["rows", "raw", "literal"])
def test_colour_affinity(reading):
    images = noise(2, 3, 7, 8, seed=1).abs() * 50
    assert_same(lambda f: colour_affinity_loss(f, images.to(f.device), reading), noise(2, 3, 7, 8))


def test_feature_walk():
    assert_same(feature_walk, noise(3, 9, 8), noise(2, 9, 8, seed=1))


@pytest.mark.parametrize("run", [guided_filter, self_guided_filter])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_guided_filters(run, channels):
    guide = noise(*channels, 20, 24).abs().clamp(max=1)
    maps = noise(3, 20, 24, seed=1).abs()
    # 1e-16 of both box filters, magnified by 1 / eps
    expected = run(guide, maps, 7, 1e-4, iterations=2)
    found = run(guide, maps.cuda(), 7, 1e-4, iterations=2)
    assert found.is_cuda and np.allclose(found.cpu(), expected, atol=1e-9)


def test_otsu():
    maps = noise(20, 24)
    assert otsu_threshold(maps.cuda()) == otsu_threshold(maps)


@pytest.mark.parametrize("border", ["all", "psa"])
def test_random_walk(border):
    def walk(features: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        return random_walk(affinity_graph(features, border=border), maps, steps=64, tol=1e-13)

    assert_same(walk, noise(5, 12, 14), noise(2, 12, 14, seed=1))
    assert_same(lambda features: to_dense(affinity_graph(features, border=border)), noise(5, 12, 14))


def test_results_of_cpu_operators_lie_where_their_input_lies():
    image = torch.randint(0, 256, (3, 20, 24), generator=torch.Generator().manual_seed(0)).byte()
    scores = noise(3, 20, 24).float().softmax(0)
    refined = dense_crf(image.cuda(), scores.cuda())
    assert refined.is_cuda and torch.equal(refined.cpu(), dense_crf(image, scores))
    labels = felzenszwalb(image.cuda())
    assert labels.is_cuda and torch.equal(labels.cpu(), felzenszwalb(image))
