"""Compiled loops over pairs of cells, channels last where there are any."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tag2mask.ops.compiled import compiled

Floats = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]
Windows = npt.NDArray[np.int64]


# Only the order of the sum is free: NaN, infinity and signs keep their meaning.
@compiled(fastmath={"reassoc"})
def forward_kernel(x: Floats, wanted: Mask, windows: Windows, out: Floats, first: int, end: int) -> None:
    """Distances of the pairs of one image whose source lies in rows first..end-1.

    Args:
        x: (H, W, C) features.
        wanted: (offsets, H, W), or empty for all pairs.
        windows: (offsets, 6), see `source_windows`.
        out: (offsets, H, W), written where there is a pair.
        first: first row.
        end: row after the last.
    """
    channels = x.shape[2]
    everything = wanted.size == 0
    scale = x.dtype.type(1) / x.dtype.type(channels)
    for row in range(first, end):
        for o in range(windows.shape[0]):
            dy, dx, top, bottom, left, right = windows[o]
            if row < top or row >= bottom:
                continue
            for col in range(left, right):
                if everything or wanted[o, row, col]:
                    here = x[row, col]
                    there = x[row + dy, col + dx]
                    total = x.dtype.type(0)
                    for c in range(channels):
                        total += abs(here[c] - there[c])
                    out[o, row, col] = total * scale


@compiled()
def backward_kernel(x: Floats, grad: Floats, windows: Windows, out: Floats, first: int, end: int) -> None:
    """Gradients of one image by the features of rows first..end-1.

    Each cell gathers from its pairs on both sides, so that no two rows write to the same place.

    Args:
        x: (H, W, C) features.
        grad: (offsets, H, W) gradient by distance.
        windows: (offsets, 6), see `source_windows`.
        out: (H, W, C), written.
        first: first row.
        end: row after the last.
    """
    width = x.shape[1]
    scale = x.dtype.type(1) / x.dtype.type(x.shape[2])
    for row in range(first, end):
        for col in range(width):
            total = out[row, col]
            total[:] = 0
            here = x[row, col]
            for o in range(windows.shape[0]):
                dy, dx, top, bottom, left, right = windows[o]
                if top <= row < bottom and left <= col < right:
                    weight = grad[o, row, col] * scale
                    if weight != 0:
                        _add_sign(total, here, x[row + dy, col + dx], weight)
                row2, col2 = row - dy, col - dx
                if top <= row2 < bottom and left <= col2 < right:
                    weight = grad[o, row2, col2] * scale
                    if weight != 0:
                        _add_sign(total, here, x[row2, col2], weight)


@compiled(inline="always")
def _add_sign(total: Floats, here: Floats, there: Floats, weight: float) -> None:
    zero = weight - weight
    for c in range(total.shape[0]):
        rise = here[c] - there[c]
        total[c] += weight if rise > 0 else (-weight if rise < 0 else zero)


@compiled()
def path_kernel(
    x: Floats, windows: Windows, cells: Windows, starts: Windows, out: Floats, places: npt.NDArray[np.int32]
) -> None:
    """The highest value on the path of each pair of one image, and where it lies.

    Args:
        x: (H, W) values.
        windows: (offsets, 6), see `source_windows`.
        cells: (cells, 2), (y, x) of the paths of all offsets from a pair's first cell.
        starts: (offsets + 1,) where the path of each offset begins in `cells`.
        out: (offsets, H, W), written where there is a pair.
        places: (offsets, H, W), written likewise: the number of the cell in row-major order.
    """
    width = x.shape[1]
    # Rows of 32-bit numbers beside each other: several columns at once in one register.
    for o in range(windows.shape[0]):
        _, _, top, bottom, left, right = windows[o]
        for row in range(top, bottom):
            best, place = out[o, row, left:right], places[o, row, left:right]
            best[:] = -np.inf
            for p in range(starts[o], starts[o + 1]):
                y, shift = row + cells[p, 0], cells[p, 1]
                here = x[y, left + shift : right + shift]
                number = np.int32(y * width + left + shift)
                for col in range(right - left):
                    higher = here[col] > best[col]
                    best[col] = here[col] if higher else best[col]
                    place[col] = number + np.int32(col) if higher else place[col]


@compiled()
def path_gradient_kernel(grad: Floats, places: npt.NDArray[np.int32], out: Floats) -> None:
    """Add the gradient of each maximum of one image to the cell where it lies.

    Args:
        grad: (offsets, H, W) gradient by maximum.
        places: (offsets, H, W) from `path_kernel`, -1 where there is no pair.
        out: (H * W,), added to.
    """
    for o in range(places.shape[0]):
        for row in range(places.shape[1]):
            for col in range(places.shape[2]):
                if places[o, row, col] >= 0:
                    out[places[o, row, col]] += grad[o, row, col]
