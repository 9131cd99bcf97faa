"""The guided filter against plain pooling and against a least-squares fit in every window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from benchmarks.reference.guided_filter import guided_filter_by_pooling
from tag2mask.ops import guided_filter

Floats = npt.NDArray[np.float64]


def by_fits(guide: Floats, maps: Floats, radius: int, eps: float) -> Floats:
    """Ridge regression of a map on the guide in every window, then the mean of all fits at a pixel."""
    height, width = guide.shape[-2:]
    colours = np.moveaxis(guide.reshape(-1, height, width), 0, 2)
    total, count = np.zeros_like(maps), np.zeros((height, width))
    for i, j in np.ndindex(height, width):
        near = np.s_[max(i - radius, 0) : i + radius + 1, max(j - radius, 0) : j + radius + 1]
        x = colours[near].reshape(-1, colours.shape[2])
        centred = x - x.mean(0)
        for k in range(len(maps)):
            y = maps[k][near].ravel()
            matrix = centred.T @ centred / len(x) + eps * np.eye(x.shape[1])
            slope = np.linalg.solve(matrix, centred.T @ (y - y.mean()) / len(x))
            total[k][near] += (centred @ slope + y.mean()).reshape(total[k][near].shape)
        count[near] += 1
    return total / count


def maps_like_cams(height: int, width: int) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(0)
    coarse = rng.random((3, height // 32 + 2, width // 32 + 2)).astype(np.float32)
    planes = [Image.fromarray(m).resize((width, height), Image.Resampling.BICUBIC) for m in coarse]
    return np.clip(np.stack([np.asarray(m) for m in planes]), 0, 1)


@pytest.mark.parametrize("channels", [None, 3], ids=["gray", "colour"])
@pytest.mark.parametrize(("radius", "eps"), [(1, 1e-6), (3, 1e-4), (20, 1e-2)])
def test_equals_a_fit_in_every_window(channels, radius, eps):
    rng = np.random.default_rng(0)
    guide = rng.random((channels, 9, 11) if channels else (9, 11))
    maps = rng.random((2, 9, 11))
    # float64 with differences that cancel to 1e-16, magnified by at most 1 / eps
    np.testing.assert_allclose(
        guided_filter(guide, maps, 2 * radius + 1, eps), by_fits(guide, maps, radius, eps), atol=1e-9
    )


@pytest.mark.parametrize("iterations", [1, 4])
def test_equals_pooling(iterations):
    guide = np.random.default_rng(1).random((60, 70))
    maps = maps_like_cams(60, 70)
    expected = guided_filter_by_pooling(torch.from_numpy(guide), torch.from_numpy(maps), 35, 1e-6, iterations)
    # the result is rounded to float32
    np.testing.assert_allclose(guided_filter(guide, maps, 35, 1e-6, iterations), expected, atol=1e-6)


@pytest.mark.real
def test_equals_pooling_on_images(animals: Path):
    for path in sorted((animals / "JPEGImages").glob("*.jpg"))[::300]:
        guide = np.asarray(Image.open(path).convert("L").resize((160, 120))) / 255.0
        maps = maps_like_cams(120, 160)
        expected = guided_filter_by_pooling(torch.from_numpy(guide), torch.from_numpy(maps), 35, 1e-6, 3)
        # the promise is 1e-5; flat parts of images, where eps counts, do not spoil float64
        np.testing.assert_allclose(guided_filter(guide, maps, 35, 1e-6, 3), expected, atol=1e-6)
