from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tag2mask.ops import feature_distances, feature_transitions, feature_walk


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_transitions_by_definition():
    features = noise(2, 3, 3, 4)
    cells = features.flatten(2)
    distances = (cells[:, :, :, None] - cells[:, :, None]).square().sum(1).sqrt()
    affinities = torch.exp(-distances)
    # float64 on both sides
    assert torch.allclose(feature_distances(features), distances, atol=1e-13)
    assert torch.allclose(
        feature_transitions(features), affinities / affinities.sum(2, keepdim=True), atol=1e-13
    )
    rows = slice(3, 7)
    assert torch.equal(feature_transitions(features, rows), feature_transitions(features)[:, rows])


def test_near_cells_of_far_features_keep_their_distance():
    features = torch.tensor([[[[1e4, 1e4 + 0.5]]]])
    # by products of float32 numbers of size 1e8 the distance of 0.5 would be lost
    assert feature_distances(features)[0, 0].tolist() == [0, 0.5]


def test_gradcheck_with_equal_cells():
    features = noise(1, 2, 2, 3)
    features[..., 0, 1] = features[..., 0, 0]
    features.requires_grad_()
    (slope,) = torch.autograd.grad(feature_transitions(features).square().sum(), features)
    assert bool(slope.isfinite().all())
    apart = noise(1, 2, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(feature_transitions, (apart,))


def test_walk_is_one_product_in_stripes():
    features, maps = noise(3, 40, 30), noise(2, 40, 30, seed=1)
    expected = (feature_transitions(features[None])[0] @ maps.flatten(1).T).T.reshape(maps.shape)
    # 1200 cells are two stripes; float64
    assert torch.allclose(feature_walk(features, maps), expected, atol=1e-13)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), value=st.floats(-10, 10))
def test_bounds_constants_flips_and_order_of_classes(seed, value):
    features, maps = noise(3, 4, 5, seed=seed).float(), noise(3, 4, 5, seed=seed + 1).float()
    walked = feature_walk(features, maps)
    assert bool((walked.amax((1, 2)) <= maps.amax((1, 2))).all())
    assert bool((walked.amin((1, 2)) >= maps.amin((1, 2))).all())
    flat = torch.full((1, 4, 5), value)
    assert torch.equal(feature_walk(features, flat), flat)
    # sums of 20 float32 numbers in another order
    assert torch.allclose(feature_walk(features.flip(2), maps.flip(2)).flip(2), walked, atol=1e-6)
    assert torch.allclose(feature_walk(features, maps[[2, 0, 1]]), walked[[2, 0, 1]], atol=1e-6)


def test_half_precision_and_no_maps():
    features, maps = noise(3, 4, 5).bfloat16(), noise(2, 4, 5).bfloat16()
    walked = feature_walk(features, maps)
    assert walked.dtype == torch.bfloat16 and not walked.requires_grad
    assert torch.equal(walked, feature_walk(features.float(), maps.float()).bfloat16())
    assert feature_walk(features, maps[:0]).shape == (0, 4, 5)


@pytest.mark.parametrize(
    ("features", "maps", "message"),
    [
        (torch.zeros(1, 3, 4, 5), torch.zeros(2, 4, 5), r"features must be \(k, H, W\)"),
        (torch.zeros(3, 4, 5), torch.zeros(2, 5, 4), r"maps must be \(K, 4, 5\)"),
        (torch.zeros(0, 4, 5), torch.zeros(2, 4, 5), "features must be .* not empty"),
        (torch.zeros(3, 0, 5), torch.zeros(2, 0, 5), "features must be .* not empty"),
        (torch.zeros(3, 4, 5).long(), torch.zeros(2, 4, 5), "features must be floating"),
        (torch.zeros(3, 4, 5), torch.zeros(2, 4, 5).long(), "maps must be floating"),
        (torch.full((3, 4, 5), torch.nan), torch.zeros(2, 4, 5), "features holds NaN"),
        (torch.zeros(3, 4, 5), torch.full((2, 4, 5), torch.inf), "maps holds NaN or infinity"),
    ],
)
def test_wrong_arguments_are_named(features, maps, message):
    with pytest.raises(ValueError, match=message):
        feature_walk(features, maps)
