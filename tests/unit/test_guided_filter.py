from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tag2mask.ops import guided_filter, otsu_threshold, self_guided_filter
from tag2mask.ops.filters.box import BoxProducts, BoxSums
from tag2mask.ops.filters.guided import LinearModel

COLOURS = pytest.mark.parametrize("channels", [None, 3], ids=["gray", "colour"])


def problem(channels: int | None = None, height: int = 12, width: int = 17, maps: int = 2, seed: int = 0):
    rng = np.random.default_rng(seed)
    guide = rng.random((channels, height, width) if channels else (height, width))
    return guide, rng.random((maps, height, width))


@COLOURS
@settings(max_examples=20)
@given(
    seed=st.integers(0, 10**6),
    value=st.floats(-5, 5),
    window=st.sampled_from([1, 3, 9, 99]),
    n=st.integers(1, 3),
)
def test_constant_maps_stay(channels, seed, value, window, n):
    guide, _ = problem(channels, seed=seed)
    out = guided_filter(guide, np.full((1, 12, 17), value), window, iterations=n)
    # covariances cancel to 1e-16, and 1 / eps magnifies that to 1e-10 of the value
    np.testing.assert_allclose(out, value, atol=1e-8)


@COLOURS
@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_flips_order_and_sums_of_maps(channels, seed):
    guide, maps = problem(channels, maps=3, seed=seed)
    out = guided_filter(guide, maps, 5)
    # float64; sums run from the other side, and 1 / eps magnifies their roundings
    flipped = guided_filter(guide[..., ::-1], maps[:, :, ::-1], 5)[:, :, ::-1]
    np.testing.assert_allclose(flipped, out, atol=1e-8)
    np.testing.assert_array_equal(guided_filter(guide, maps[[2, 0, 1]], 5), out[[2, 0, 1]])
    added = guided_filter(guide, 2 * maps[:1] - maps[1:2] + 0.3, 5)
    np.testing.assert_allclose(added[0], 2 * out[0] - out[1] + 0.3, atol=1e-8)


@COLOURS
def test_the_guide_itself_passes(channels):
    guide, _ = problem(channels)
    maps = guide[None] if guide.ndim == 2 else guide
    # a map that is linear in the guide is kept up to eps / variance, here about 1e-9 / 1e-1
    np.testing.assert_allclose(guided_filter(guide, maps, 7, eps=1e-9), maps, atol=1e-6)


@COLOURS
def test_a_flat_guide_averages_over_windows_twice(channels):
    guide, maps = problem(channels)
    flat = np.full_like(guide, 0.4)

    def mean(plane: np.ndarray) -> np.ndarray:
        cells = np.empty_like(plane)
        for i, j in np.ndindex(plane.shape):
            cells[i, j] = plane[max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3].mean()
        return cells

    expected = np.stack([mean(mean(plane)) for plane in maps])
    # the flat guide's covariances are 1e-16 instead of 0, magnified by 1 / eps
    np.testing.assert_allclose(guided_filter(flat, maps, 5), expected, atol=1e-9)


@COLOURS
def test_iterations_filter_the_filtered(channels):
    guide, maps = problem(channels)
    state = maps
    for _ in range(3):
        state = guided_filter(guide, state, 5)
    np.testing.assert_array_equal(guided_filter(guide, maps, 5, iterations=3), state)


@COLOURS
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (8, 1)])
def test_maps_smaller_than_the_window(channels, size):
    guide, maps = problem(channels, *size)
    out = guided_filter(guide, maps, 35, eps=1e-2)
    np.testing.assert_allclose(guided_filter(guide, maps, 10**9 + 1, eps=1e-2), out)
    assert np.isfinite(out).all()


@COLOURS
def test_edges_of_the_guide_are_taken_over(channels):
    guide = problem(channels, 40, 40)[0] * 0.02
    guide[..., 20:] += 0.9
    blurred = np.zeros((1, 40, 40))
    blurred[0] = np.clip((np.arange(40) - 10) / 20, 0, 1)  # from 0 to 1 over the columns 10 to 30
    out = guided_filter(guide, blurred, 35, eps=1e-3)[0]
    assert out[:, 20].mean() - out[:, 19].mean() > 0.4 > 0.1 > blurred[0, 0, 20] - blurred[0, 0, 19]


def test_kinds_and_types():
    guide, maps = problem()
    expected = guided_filter(guide, maps, 5)
    assert isinstance(expected, np.ndarray) and expected.dtype == np.float64
    single = guided_filter(guide.astype(np.float32), maps.astype(np.float32), 5)
    assert single.dtype == np.float32
    tensor = guided_filter(torch.from_numpy(guide), torch.from_numpy(maps).requires_grad_(), 5)
    assert isinstance(tensor, torch.Tensor) and not tensor.requires_grad
    np.testing.assert_array_equal(tensor.numpy(), expected)
    half = guided_filter(guide, torch.from_numpy(maps).bfloat16(), 5)
    assert half.dtype == torch.bfloat16
    mixed = guided_filter(torch.from_numpy(guide), maps, 5)
    assert isinstance(mixed, np.ndarray) and np.array_equal(mixed, expected)


@COLOURS
def test_strided_and_read_only_arguments_are_left_alone(channels):
    guide, maps = problem(channels)
    expected = guided_filter(guide, maps, 5)
    wide = np.asfortranarray(maps)
    before = guide.copy(), maps.copy()
    for array in (guide, maps, wide):
        array.flags.writeable = False
    np.testing.assert_array_equal(guided_filter(np.asfortranarray(guide), wide, 5), expected)
    turned = torch.from_numpy(maps.copy()).permute(2, 0, 1).contiguous().permute(1, 2, 0)
    np.testing.assert_array_equal(guided_filter(guide, turned, 5).numpy(), expected)
    np.testing.assert_array_equal(guide, before[0])
    np.testing.assert_array_equal(maps, before[1])


def test_no_maps_is_no_error():
    guide, _ = problem()
    assert guided_filter(guide, np.zeros((0, 12, 17))).shape == (0, 12, 17)
    assert self_guided_filter(guide, torch.zeros(0, 12, 17)).shape == (0, 12, 17)


@pytest.mark.parametrize("window", [1, 5, 17, 99])
def test_both_box_means_agree(window):
    planes = torch.from_numpy(problem()[1])[:, None]
    ways = [way((12, 17), window, planes)(planes.clone()) for way in (BoxSums, BoxProducts)]
    # float64 sums of some hundred numbers below 1
    assert ways[0].shape == planes.shape and torch.allclose(*ways, rtol=0, atol=1e-12)


@COLOURS
def test_the_way_of_a_gpu_gives_the_same_maps(channels):
    guide, maps = (torch.from_numpy(values) for values in problem(channels))
    ways = [LinearModel(guide, 7, 1e-4, way) for way in (BoxSums, BoxProducts)]
    states = [maps, maps]
    for _ in range(3):
        states = [way.fit(state) for way, state in zip(ways, states, strict=True)]
    # 1e-16 of the sums, magnified by 1 / eps
    assert torch.allclose(*states, rtol=0, atol=1e-11)
    assert (states[0] - maps).abs().max() > 0.1


def test_threads():
    guide, maps = problem(3)
    expected = guided_filter(guide, maps, 5)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: guided_filter(guide, maps, 5), range(8)))
    assert all(np.array_equal(r, expected) for r in results)


@COLOURS
def test_self_guided_rounds_threshold_and_filter(channels):
    guide, maps = problem(channels)
    state = maps
    for _ in range(3):
        binary = np.stack([plane > otsu_threshold(plane) for plane in state]).astype(np.float64)
        state = guided_filter(guide, binary, 5)
    np.testing.assert_array_equal(self_guided_filter(guide, maps, 5, iterations=3), state)


def test_self_guided_flat_maps_become_empty():
    guide, maps = problem()
    maps[1] = 0.7
    out = self_guided_filter(guide, maps, 5)
    assert not out[1].any() and out[0].any()


@pytest.mark.parametrize("run", [guided_filter, self_guided_filter])
@pytest.mark.parametrize(
    ("guide", "maps", "more", "message"),
    [
        (np.zeros(4), np.zeros((1, 4, 5)), {}, r"guide must be \(H, W\) or \(3, H, W\)"),
        (np.zeros((1, 4, 5)), np.zeros((1, 4, 5)), {}, "guide must be"),
        (np.zeros((4, 5, 3)), np.zeros((1, 4, 5)), {}, "put the channels first: guide.permute"),
        (np.zeros((0, 5)), np.zeros((1, 0, 5)), {}, "guide must be .* not empty"),
        (np.zeros((4, 5), np.uint8), np.zeros((1, 4, 5)), {}, "guide must be floating"),
        (np.full((4, 5), 200.0), np.zeros((1, 4, 5)), {}, r"guide must lie in \[0, 1\].*divide 8-bit"),
        (np.full((4, 5), -0.1), np.zeros((1, 4, 5)), {}, "guide must lie"),
        (np.full((4, 5), np.nan), np.zeros((1, 4, 5)), {}, "guide holds NaN"),
        (np.zeros((4, 5)), np.zeros((4, 5)), {}, r"maps must be \(K, 4, 5\)"),
        (np.zeros((4, 5)), np.zeros((1, 5, 4)), {}, "maps must be"),
        (np.zeros((4, 5)), np.zeros((1, 4, 5), int), {}, "maps must be floating"),
        (np.zeros((4, 5)), np.full((1, 4, 5), np.inf), {}, "maps holds NaN or infinity"),
        (np.zeros((4, 5)), np.zeros((1, 4, 5)), {"window": 34}, "window must be an odd number"),
        (np.zeros((4, 5)), np.zeros((1, 4, 5)), {"window": -1}, "window must be"),
        (np.zeros((4, 5)), np.zeros((1, 4, 5)), {"window": 3.5}, "window must be"),
        (np.zeros((4, 5)), np.zeros((1, 4, 5)), {"eps": 0}, "eps must be above 0"),
        (np.zeros((4, 5)), np.zeros((1, 4, 5)), {"eps": np.nan}, "eps must be above 0"),
        (np.zeros((4, 5)), np.zeros((1, 4, 5)), {"iterations": 0}, "iterations must be"),
        (np.zeros((4, 5)), np.zeros((1, 4, 5)), {"iterations": 1.5}, "iterations must be"),
    ],
)
def test_wrong_arguments_are_named(run, guide, maps, more, message):
    with pytest.raises(ValueError, match=message):
        run(guide, maps, **more)
