"""Which pairs of neighbouring cells a map has.

A set of pairs is described by its offsets (half a plane, so that each pair is named once) and, for each
offset, by the rectangle of cells that may be the pair's first cell, its source. A value for each pair is
stored as a plane: (offsets, H, W), indexed by the source and 0 where there is no pair.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Border = Literal["all", "psa"]
"""``"all"``: every pair inside the map. ``"psa"``: the pairs of PSA's published code, which uses no
source in the last radius-1 rows and the outer radius-1 columns on both sides."""

_LARGEST_RADIUS = 64


@lru_cache(maxsize=32)
def half_plane_offsets(radius: int) -> tuple[tuple[int, int], ...]:
    """Offsets (dy, dx) with dx^2 + dy^2 < radius^2, one of each two opposite ones.

    Each offset points to a later cell in row-major order.

    Args:
        radius: cells nearer to each other than this form a pair; a whole number from 2 to 64.

    Raises:
        ValueError: another radius: below 2 no cell has a neighbour, beyond 64 each has over 12,000.

    Example:
        >>> half_plane_offsets(2)
        ((0, 1), (1, -1), (1, 0), (1, 1))
        >>> len(half_plane_offsets(5))
        34
    """
    if not 2 <= radius <= _LARGEST_RADIUS or radius != int(radius):
        raise ValueError(f"radius must be a whole number from 2 to {_LARGEST_RADIUS}, got {radius}")
    reach = range(-radius + 1, radius)
    return tuple((dy, dx) for dy in range(radius) for dx in reach
                 if dx * dx + dy * dy < radius * radius and (dy, dx) > (0, 0))  # fmt: skip


@lru_cache(maxsize=128)
def source_windows(height: int, width: int, radius: int, border: Border) -> npt.NDArray[np.int64]:
    """For each offset, the half-open rectangle of cells that have a partner there.

    Args:
        height: rows of the map.
        width: columns of the map.
        radius: as in `half_plane_offsets`.
        border: see `Border`.

    Returns:
        read-only (offsets, 6): dy, dx, first row, end row, first column, end column. The rectangle
        is empty where no cell of a small map has a partner.

    Raises:
        ValueError: an unknown border, or a map too small for ``"psa"``.

    Example:
        >>> source_windows(56, 56, 5, "psa")[0]
        array([ 0,  1,  0, 52,  4, 52])
    """
    if border not in get_args(Border):
        raise ValueError(f"border must be one of {get_args(Border)}, got {border!r}")
    edge = radius - 1
    if border == "psa" and (height <= edge or width <= 2 * edge):
        raise ValueError(
            f"a {height} x {width} map has no pair for border='psa' with radius {radius}: it needs at "
            f"least {edge + 1} x {2 * edge + 1} cells. Use border='all', a smaller radius or a larger image"
        )
    rows = []
    for dy, dx in half_plane_offsets(radius):
        if border == "psa":
            rows.append((dy, dx, 0, height - edge, edge, width - edge))
        else:
            rows.append((dy, dx, 0, max(0, height - dy), max(0, -dx), max(0, width - max(0, dx))))
    windows = np.array(rows, np.int64)
    windows.flags.writeable = False
    return windows


@lru_cache(maxsize=16)
def pair_mask(height: int, width: int, radius: int, border: Border) -> Tensor:
    """(offsets, H, W) bool on the CPU, True at the source of each pair; shared, do not write to it.

    Example:
        >>> int(pair_mask(56, 56, 5, "psa")[0].sum())
        2496
    """
    windows = source_windows(height, width, radius, border)
    mask = torch.zeros(len(windows), height, width, dtype=torch.bool)
    for index, (_, _, top, bottom, left, right) in enumerate(windows.tolist()):
        mask[index, top:bottom, left:right] = True
    return mask


def shifted(maps: Tensor, window: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Views of the sources and of their partners.

    Args:
        maps: (..., H, W).
        window: a row of `source_windows`.

    Returns:
        two views (..., rows, columns) of `maps`.
    """
    dy, dx, top, bottom, left, right = (int(v) for v in window)
    source = maps[..., top:bottom, left:right]
    return source, maps[..., top + dy : bottom + dy, left + dx : right + dx]
