"""Where the edges of masks and labels lie after every change of size, in hundredths of a pixel.

An edge from black to white stands in an image and, at the same place, in its label map. After the change
the image's edge is at the sum of its darkness along a row, the label's at the number of its cells before
it. A label's edge can only lie between two cells, up to half a cell off; over many places the mean is 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tag2mask.losses.region_smoothness import region_smoothness_loss
from tag2mask.ops import pool_labels
from tag2mask.recipes.ial.patches import nearest, smooth
from tag2mask.recipes.ial.regions import pool_regions
from tag2mask.report.pictures import resize_labels
from tests.parity.papers.common import crop_augment, resize_long_side


def step(place: float, width: int = 100, height: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W, 3) and its label (H, W), dark and 0 before a column."""
    label = np.broadcast_to(np.arange(width) >= place, (height, width)).astype(np.uint8)
    return np.repeat(255 * label[:, :, None], 3, 2), label


def offset(image: np.ndarray, label: np.ndarray) -> float:
    """How far right of the image's edge the label's edge lies, in pixels of what comes out."""
    return float((label[0] == 0).sum() - (1 - image[0, :, 0] / 255).sum())


def crops(seed: int, place: int, upright: bool, sizes: dict[str, tuple[float, float]]) -> float:
    image, label = step(place)
    if upright:
        image, label = image.transpose(1, 0, 2), label.T
    torch.manual_seed(seed)
    # as large as the largest image, so that the crop cuts nothing off
    out, labels = crop_augment(152, **sizes)(
        np.ascontiguousarray(image), {"label": np.ascontiguousarray(label)}
    )
    marked = labels["label"]
    rows, columns = np.nonzero(marked != 255)
    inside = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    out, marked = out[inside], marked[inside]
    return offset(out.transpose(1, 0, 2), marked.T) if upright else offset(out, marked)


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("sizes", [{"scale": (0.5, 1.5)}, {"long_side": (50, 150)}])
def test_training_crops(sizes: dict[str, tuple[float, float]], upright: bool) -> None:
    found = [crops(seed, 30 + seed % 41, upright, sizes) for seed in range(300)]
    # edges uniform within a cell: standard deviation 0.29, of the mean of 300 0.017
    assert abs(np.mean(found)) < 0.06 and np.max(np.abs(found)) < 0.75


def sizes_of(change: Callable[[np.ndarray, np.ndarray, int], float]) -> list[float]:
    return [change(*step(30 + size % 41), size) for size in range(50, 151)]


def validation(image: np.ndarray, label: np.ndarray, size: int) -> float:
    out, labels = resize_long_side(image, {"label": label}, size)
    return offset(out, labels["label"])


def picture(image: np.ndarray, label: np.ndarray, size: int) -> float:
    place = (label[0] == 0).sum() * size / 100
    return float((resize_labels(label, (40, size))[0] == 0).sum() - place)


def patch(image: np.ndarray, label: np.ndarray, size: int) -> float:
    theta = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]])
    grid = F.affine_grid(theta, [1, 1, 40, size], align_corners=False)
    out = smooth(torch.from_numpy(image.transpose(2, 0, 1).copy()), grid)
    marked = nearest(torch.from_numpy(label.copy()).long(), grid, 255)
    return offset(out.numpy().transpose(1, 2, 0), marked.numpy())


@pytest.mark.parametrize("change", [validation, picture, patch])
def test_masks_of_other_sizes(change: Callable[[np.ndarray, np.ndarray, int], float]) -> None:
    found = sizes_of(change)
    assert abs(np.mean(found)) < 0.12  # as above, of 101 sizes: 0.03


def test_superpixels_read_the_cell_below_their_pixels() -> None:
    """Mask pooling over features of ceil(side / 8) cells: the border of two cells, in pixels."""
    found = []
    for side in range(33, 133):
        cells = -(-side // 8)
        for border in range(1, cells):
            features = (torch.arange(cells) >= border).double().view(1, 1, -1)
            pooled = pool_regions(features, torch.arange(side)[None])[:, 0]  # one region a pixel
            found.append(float((pooled == 0).sum()) - border * side / cells)
    assert abs(np.mean(found)) < 0.06


def test_superpixels_on_the_grid_of_gates() -> None:
    """Two superpixels whose gates differ: no loss where the gates change with the superpixels' border."""
    for width in (16, 22, 40):
        superpixels = (torch.arange(2 * width) >= width).long().expand(1, 6, -1)
        gates = (torch.arange(width) >= width / 2).double().expand(1, 1, 3, -1)
        assert float(region_smoothness_loss(gates, superpixels)) == 0


def test_labels_of_8_by_8_blocks() -> None:
    """A block's label is that of most of its pixels: an edge moves to the nearest border of blocks."""
    for place in range(8, 57):
        _, label = step(place, 64, 16)
        pooled = pool_labels(torch.from_numpy(label.copy())[None], 2)[0]
        moved = 8 * int((pooled[0] == 0).sum()) - place
        assert abs(moved) <= 4
