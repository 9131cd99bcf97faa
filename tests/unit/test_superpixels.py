from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tag2mask.ops import felzenszwalb


def image(height: int = 40, width: int = 50, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Blocks of colour with noise."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (-(-height // 10), -(-width // 10), 3)).repeat(10, 0).repeat(10, 1)
    noise = rng.normal(0, 6, (height, width, 3))
    return np.clip(blocks[:height, :width] + noise, 0, 255).astype(np.uint8).transpose(2, 0, 1)


def pieces(labels: npt.NDArray[np.int64]) -> int:
    """Number of 8-connected pieces of equal labels."""
    seen, count = np.zeros(labels.shape, bool), 0
    for start in np.ndindex(labels.shape):
        if seen[start]:
            continue
        count += 1
        stack = [start]
        while stack:
            i, j = stack.pop()
            if not seen[i, j]:
                seen[i, j] = True
                rows, columns = range(max(i - 1, 0), i + 2), range(max(j - 1, 0), j + 2)
                near = [(y, x) for y in rows for x in columns if y < len(seen) and x < seen.shape[1]]
                stack += [p for p in near if labels[p] == labels[i, j]]
    return count


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1, 50, 300]), least=st.sampled_from([0, 1, 7, 60]))
def test_regions_are_in_one_piece_numbered_and_large_enough(seed, scale, least):
    labels = felzenszwalb(image(seed=seed), scale, 0.8, least)
    assert labels.shape == (40, 50) and labels.dtype == np.int64
    names, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    assert names.tolist() == list(range(len(names))) and (np.diff(first) > 0).all()
    assert sizes.min() >= least
    assert pieces(labels) == len(names)


def test_blocks_are_found():
    blocks = np.arange(20).reshape(4, 5).repeat(10, 0).repeat(10, 1)
    colours = np.stack([blocks % 5 * 60, blocks // 5 * 80, np.full_like(blocks, 9)])
    noisy = colours + np.random.default_rng(0).integers(0, 6, colours.shape)
    np.testing.assert_array_equal(felzenszwalb(noisy.astype(np.uint8), 100, 0, 20), blocks)


def test_larger_scales_give_larger_regions():
    counts = [felzenszwalb(image(), scale, 0.8, 0).max() for scale in (1, 30, 1000)]
    assert counts[0] > counts[1] > counts[2]


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 2)])
@pytest.mark.parametrize("sigma", [0, 1e-20, 0.8, 30])
def test_small_images(size, sigma):
    labels = felzenszwalb(image(*size), 1, sigma, 0)
    assert labels.shape == size and labels[0, 0] == 0
    assert not felzenszwalb(np.full((3, *size), 7, np.uint8), 1, sigma).any()
    assert not felzenszwalb(image(*size), min_size=10**9).any()


def test_strided_and_read_only_images():
    expected = felzenszwalb(image())
    other = np.asfortranarray(image())
    other.flags.writeable = False
    np.testing.assert_array_equal(felzenszwalb(other), expected)
    np.testing.assert_array_equal(felzenszwalb(image()[:, ::-1][:, ::-1]), expected)


def test_a_tensor_gives_a_tensor():
    labels = felzenszwalb(torch.from_numpy(image().copy()))
    assert isinstance(labels, torch.Tensor)
    np.testing.assert_array_equal(labels.numpy(), felzenszwalb(image()))


def test_threads():
    expected = felzenszwalb(image())
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(r, expected) for r in pool.map(lambda _: felzenszwalb(image()), range(8)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((3, 4, 5)),), "image must be uint8, got float64"),
        ((np.zeros((4, 5), np.uint8),), r"image must be \(3, H, W\)"),
        ((np.zeros((4, 4, 5), np.uint8),), "image must be"),
        ((np.zeros((3, 0, 5), np.uint8),), "image must be .* not empty"),
        (
            (np.zeros((4, 5, 3), np.uint8),),
            r"got \(4, 5, 3\); put the channels first: .*transpose\(2, 0, 1\)",
        ),
        ((image().tolist(),), "image must be a tensor or an array, got list"),
        ((np.broadcast_to(np.uint8(0), (3, 1 << 15, 1 << 15)),), "image has 32768 x 32768 pixels"),
        ((image(), 0), "scale must be above 0"),
        ((image(), np.nan), "scale must be above 0"),
        ((image(), np.inf), "scale must be above 0"),
        ((image(), 1, -0.1), "sigma must lie in"),
        ((image(), 1, 1e9), "sigma must lie in"),
        ((image(), 1, np.nan), "sigma must lie in"),
        ((image(), 1, 1, -1), "min_size must be"),
        ((image(), 1, 1, 2.5), "min_size must be"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        felzenszwalb(*arguments)
