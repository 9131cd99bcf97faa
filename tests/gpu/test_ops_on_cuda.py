"""Operators on a CUDA device against the same on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tag2mask.core import ScoreMaps
from tag2mask.modules import ImageView
from tag2mask.ops import (
    affinity_graph,
    affinity_labels,
    background_score,
    dense_crf,
    feature_distances,
    feature_transitions,
    feature_walk,
    felzenszwalb,
    guided_filter,
    multi_scale_cam,
    normalise_cams,
    otsu_threshold,
    pair_distances,
    path_maxima,
    pool_labels,
    random_walk,
    random_walks,
    self_guided_filter,
    spatial_propagation,
    to_dense,
)
from tag2mask.ops.lattice import bilateral_sums
from tag2mask.recipes.irn import BoundaryWalk, boundary_graph


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same(run, device, *tensors: torch.Tensor) -> None:
    """Results and gradients of `run` in float64 on both devices."""
    found = []
    for there in (torch.device("cpu"), device):
        inputs = [t.to(there).requires_grad_() for t in tensors]
        out = run(*inputs)
        assert out.device.type == there.type
        slopes = torch.autograd.grad(out.square().sum(), inputs) if out.requires_grad else ()
        found.append([v.detach().cpu() for v in (out, *slopes)])
    for one, other in zip(*found, strict=True):
        # float64; sums in another order
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [(9, 9), (6, 11)])
def test_spatial_propagation(device, size):
    assert_same(spatial_propagation, device, noise(2, 3, *size), noise(2, 4, 3, 3, *size, seed=1))


@pytest.mark.parametrize("border", ["all", "psa"])
def test_pair_distances(device, border):
    assert_same(lambda x: pair_distances(x, 5, border), device, noise(2, 6, 12, 14))


@pytest.mark.parametrize("border", ["all", "psa"])
def test_random_walk(device, border):
    def walk(features: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        return random_walk(affinity_graph(features, border=border), maps, steps=64, tol=1e-13)

    assert_same(walk, device, noise(5, 12, 14), noise(2, 12, 14, seed=1))
    assert_same(lambda features: to_dense(affinity_graph(features, border=border)), device, noise(5, 12, 14))


@pytest.mark.parametrize("border", ["all", "psa"])
def test_path_maxima(device, border):
    def maxima(values: torch.Tensor) -> torch.Tensor:
        return path_maxima(values, 5, border)

    assert_same(maxima, device, noise(2, 12, 14))
    # whole numbers: most paths have their maximum several times, and the first one has the gradient
    assert_same(maxima, device, noise(2, 12, 14).round())


def test_walk_up_to_boundaries(device):
    def walk(boundaries: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        graph = boundary_graph(boundaries.sigmoid())
        return random_walk(graph, maps * (1 - boundaries.sigmoid()), beta=10, steps=64, tol=1e-13)

    assert_same(walk, device, noise(12, 14), noise(2, 12, 14, seed=1))


def test_random_walks_of_several_images(device):
    def walk(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        graphs = [affinity_graph(features) for features in (one, two)]
        walks = random_walks(graphs, [noise(2, *g.size, seed=1) for g in graphs], tol=1e-13)
        return torch.cat([walked.flatten() for walked in walks])

    assert_same(walk, device, noise(5, 12, 14), noise(5, 15, 7))


def test_boundary_walk(device):
    """The link of a chain on two images, as a step runs it: float32, scores of up to 1."""
    boundaries = [noise(*size).sigmoid().float() for size in ((12, 14), (15, 7))]
    found = []
    for there in (torch.device("cpu"), device):
        scores, images = [], []
        for values in boundaries:
            height, width = (4 * side for side in values.shape)
            maps = noise(2, *values.shape, seed=1).sigmoid().float().numpy()
            scores.append(ScoreMaps("a", maps, [1, 2], (height, width)))
            pixels = torch.zeros(3, height, width, dtype=torch.uint8, device=there)
            images.append(ImageView(pixels, lambda at, values=values: values.to(at.device)))
        found.append(list(BoundaryWalk().of_batch(scores, images, 1)))
    for one, other in zip(*found, strict=True):
        assert one.maps.max() == 1 and np.abs(one.maps - other.maps).max() <= 1e-4


def test_random_walk_in_float32(device):
    """The bar of the benchmark, at the size of an image at stride 8: scores in [0, 1], argmax."""
    features = noise(64, 47, 63)
    maps = torch.rand(3, 47, 63, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = random_walk(affinity_graph(features), maps, tol=1e-9)
    found = random_walk(affinity_graph(features.float().to(device)), maps.float().to(device)).cpu()
    assert (found - expected).abs().max() <= 1e-4
    assert (found.argmax(0) == expected.argmax(0)).double().mean() >= 0.9999


def test_distances_transitions_and_walk_of_features(device):
    assert_same(feature_walk, device, noise(3, 9, 8), noise(2, 9, 8, seed=1))
    # distances grow by products, which cancel between near cells: half the digits of float64 are left
    for run in (feature_distances, feature_transitions):
        expected, found = run(noise(2, 3, 9, 8)), run(noise(2, 3, 9, 8).to(device)).cpu()
        assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("run", [guided_filter, self_guided_filter])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_guided_filters(device, run, channels):
    guide = noise(*channels, 20, 24).abs().clamp(max=1)
    maps = noise(3, 20, 24, seed=1).abs()
    # 1e-16 of both box filters, magnified by 1 / eps
    expected = run(guide, maps, 7, 1e-4, iterations=2)
    found = run(guide, maps.to(device), 7, 1e-4, iterations=2)
    assert found.device.type == device.type and np.allclose(found.cpu(), expected, atol=1e-9)


def test_otsu(device):
    maps = noise(20, 24)
    assert otsu_threshold(maps.to(device)) == otsu_threshold(maps)


@pytest.mark.parametrize("method", ["lattice", "exact"])
def test_bilateral_sums(device, method):
    images = torch.randint(0, 256, (2, 3, 20, 24), generator=torch.Generator().manual_seed(0)).float()
    maps = noise(2, 4, 20, 24).abs().float()
    expected = bilateral_sums(images, maps, 15, 20, method)
    found = bilateral_sums(images.to(device), maps.to(device), 15, 20, method).cpu()
    # float32 sums over some hundred pixels, on the card in the order in which its threads come
    assert (found - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_multi_scale_cam(device, precision, kind):
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 16, 3, 4, 1), torch.nn.ReLU(), torch.nn.Conv2d(16, 5, 3, 2, 1)]
    model = torch.nn.Sequential(*layers).eval()
    image = torch.randint(0, 256, (3, 60, 84)).to(kind)
    expected = multi_scale_cam(model, image, precision="float32")
    found = multi_scale_cam(model.to(device), image.to(device), precision=precision).cpu()
    # A byte in a hundred is rounded the other way when resized (by 1 of 255); bfloat16 has 8 bits.
    bar = 1e-3 if precision == "float32" else 0.03
    assert (found - expected).norm() <= bar * expected.norm()


def test_scores_and_labels(device):
    cams = noise(3, 8, 9).abs()
    cams = cams / cams.amax()
    for run in (normalise_cams, lambda c: background_score(c, 4)):
        assert torch.allclose(run(cams.to(device)).cpu(), run(cams), atol=1e-12)
    drawn = torch.randint(0, 5, (2, 40, 48), generator=torch.Generator().manual_seed(0))
    labels = torch.where(drawn == 4, 255, drawn).to(torch.uint8)
    pooled = [pool_labels(value, 4) for value in (labels, labels.to(device))]
    assert torch.equal(pooled[1].cpu(), pooled[0])
    joined = [affinity_labels(value, value.flip(0)) for value in pooled]
    assert torch.equal(joined[1].cpu(), joined[0])


def test_results_of_cpu_operators_lie_where_their_input_lies(device):
    image = torch.randint(0, 256, (3, 20, 24), generator=torch.Generator().manual_seed(0)).byte()
    scores = noise(3, 20, 24).float().softmax(0)
    refined = dense_crf(image.to(device), scores.to(device))
    assert refined.device.type == device.type and torch.equal(refined.cpu(), dense_crf(image, scores))
    labels = felzenszwalb(image.to(device))
    assert labels.device.type == device.type and torch.equal(labels.cpu(), felzenszwalb(image))
