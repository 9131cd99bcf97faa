from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tag2mask.ops import otsu_threshold


@pytest.mark.parametrize("value", [0.0, -3.5, 1e-30, 7])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16])
def test_no_pixel_of_a_flat_map_exceeds_its_threshold(value, kind):
    flat = np.full((5, 6), value, kind)
    assert otsu_threshold(flat) == flat[0, 0]
    assert not (flat > otsu_threshold(flat)).any()
    assert otsu_threshold(flat[:1, :1]) == flat[0, 0]


def test_rounding_does_not_make_a_flat_map_two_groups():
    noisy = np.full((5, 6), 0.1, np.float32)
    noisy[2] = np.nextafter(noisy[2], np.float32(1))
    assert not (noisy > otsu_threshold(noisy)).any()


def test_two_values_are_told_apart():
    two = np.array([[0.2, 0.2, 0.9]])
    assert (two > otsu_threshold(two)).tolist() == [[False, False, True]]
    assert otsu_threshold(np.array([3, 3, 8])) == 3


def spread(values: np.ndarray, threshold: float) -> float:
    """The variance between the two groups, n_0 n_1 (m_0 - m_1)^2 / N^2."""
    above = values > threshold
    share = above.mean()
    return share * (1 - share) * (values[above].mean() - values[~above].mean()) ** 2


@given(seed=st.integers(0, 10**6), with_zeros=st.booleans())
def test_groups_are_the_best_of_all_splits_between_bins(seed, with_zeros):
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(0, 1, 300), rng.normal(rng.uniform(1, 5), 0.5, 200)])
    if with_zeros:  # as activation maps
        values = values.clip(min=0)
    edges = np.linspace(values.min(), values.max(), 257)
    centres = (edges[1:] + edges[:-1]) / 2
    binned = centres[np.clip(np.digitize(values, edges) - 1, 0, 255)]
    best = max(spread(binned, centre) for centre in centres[:-1])
    # counted in float32, so that a split that is better by 1e-6 may be missed
    assert spread(binned, otsu_threshold(values)) >= best * (1 - 1e-5)


@given(seed=st.integers(0, 10**6), low=st.sampled_from([0, -40]))
def test_integers_split_at_the_best_whole_number(seed, low):
    values = np.random.default_rng(seed).integers(low, 90, (15, 15))
    best = max(spread(values, number) for number in range(values.min(), values.max()))
    assert spread(values, otsu_threshold(values)) >= best * (1 - 1e-5)  # float32, as above


@given(seed=st.integers(0, 10**6), order=st.randoms(use_true_random=False))
def test_place_does_not_matter(seed, order):
    values = list(np.random.default_rng(seed).random(60))
    before = otsu_threshold(np.array(values))
    order.shuffle(values)
    assert otsu_threshold(np.array(values).reshape(6, 10)) == before


def test_tensors_and_half_precision():
    values = torch.rand(9, 11, generator=torch.Generator().manual_seed(0))
    assert otsu_threshold(values) == otsu_threshold(values.numpy())
    assert otsu_threshold(values.clone().requires_grad_()) == otsu_threshold(values)
    for kind in (torch.bfloat16, torch.float16):
        assert otsu_threshold(values.to(kind)) == otsu_threshold(values.to(kind).float())
    assert otsu_threshold(values.t()) == otsu_threshold(values)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64, np.uint64])
def test_integers_of_every_size(kind):
    values = np.array([0, 1, 2, 90, 100, 101, 127]).astype(kind)
    assert otsu_threshold(values) == 2
    if kind in (np.int8, np.int64):
        assert otsu_threshold(values - kind(100)) == -98


@pytest.mark.parametrize(
    ("map", "message"),
    [
        (np.zeros((0, 3)), "map must hold real numbers and not be empty"),
        (torch.zeros(0), "not be empty"),
        (np.zeros((2, 2), bool), "map must hold real numbers"),
        (np.zeros((2, 2), complex), "map must hold real numbers"),
        (np.array([0.0, np.nan]), "map holds NaN"),
        (np.array([0.0, -np.inf]), "map holds NaN or infinity"),
        (torch.tensor([0.0, torch.nan]), "map holds NaN"),
        (np.array([-3e38, 3e38], np.float32), "map spans"),
        (np.array([0, 2**40]), "map spans 1099511627776 whole numbers; convert it"),
    ],
)
def test_wrong_maps_are_named(map, message):
    with pytest.raises(ValueError, match=message):
        otsu_threshold(map)
