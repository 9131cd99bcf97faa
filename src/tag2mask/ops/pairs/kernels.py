"""Compiled loops over pairs of cells, channels last."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


# Only the order of the sum is free: NaN, infinity and signs keep their meaning.
@numba.njit(cache=True, nogil=True, fastmath={"reassoc"})
def forward_kernel(
    x: Floats,
    wanted: npt.NDArray[np.bool_],
    windows: npt.NDArray[np.int64],
    out: Floats,
    image: int,
    first: int,
    end: int,
) -> None:
    """Distances of the pairs whose source lies in rows first..end-1 of one image.

    Args:
        x: (B, H, W, C) features.
        wanted: (B, offsets, H, W), or empty for all pairs.
        windows: (offsets, 6), see `source_windows`.
        out: (B, offsets, H, W), written where there is a pair.
        image: index into B.
        first: first row.
        end: row after the last.
    """
    channels = x.shape[3]
    everything = wanted.size == 0
    scale = x.dtype.type(1) / x.dtype.type(channels)
    for row in range(first, end):
        for o in range(windows.shape[0]):
            dy, dx, top, bottom, left, right = windows[o]
            if row < top or row >= bottom:
                continue
            for col in range(left, right):
                if everything or wanted[image, o, row, col]:
                    here = x[image, row, col]
                    there = x[image, row + dy, col + dx]
                    total = x.dtype.type(0)
                    for c in range(channels):
                        total += abs(here[c] - there[c])
                    out[image, o, row, col] = total * scale


@numba.njit(cache=True, nogil=True)
def backward_kernel(
    x: Floats,
    grad: Floats,
    windows: npt.NDArray[np.int64],
    out: Floats,
    image: int,
    first: int,
    end: int,
) -> None:
    """Feature gradients of rows first..end-1 of one image.

    Each cell gathers from its pairs on both sides, so that no two rows write to the same place.

    Args:
        x: (B, H, W, C) features.
        grad: (B, offsets, H, W) gradient by distance.
        windows: (offsets, 6), see `source_windows`.
        out: (B, H, W, C), written.
        image: index into B.
        first: first row.
        end: row after the last.
    """
    width = x.shape[2]
    scale = x.dtype.type(1) / x.dtype.type(x.shape[3])
    for row in range(first, end):
        for col in range(width):
            total = out[image, row, col]
            total[:] = 0
            here = x[image, row, col]
            for o in range(windows.shape[0]):
                dy, dx, top, bottom, left, right = windows[o]
                if top <= row < bottom and left <= col < right:
                    weight = grad[image, o, row, col] * scale
                    if weight != 0:
                        _add_sign(total, here, x[image, row + dy, col + dx], weight)
                row2, col2 = row - dy, col - dx
                if top <= row2 < bottom and left <= col2 < right:
                    weight = grad[image, o, row2, col2] * scale
                    if weight != 0:
                        _add_sign(total, here, x[image, row2, col2], weight)


@numba.njit(cache=True, nogil=True, inline="always")
def _add_sign(total: Floats, here: Floats, there: Floats, weight: float) -> None:
    zero = weight - weight
    for c in range(total.shape[0]):
        rise = here[c] - there[c]
        total[c] += weight if rise > 0 else (-weight if rise < 0 else zero)
