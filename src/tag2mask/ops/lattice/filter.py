"""Filtering maps over a permutohedral lattice: splat, blur and slice, all maps in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tag2mask.ops.lattice.lanes import WIDTH, add_scaled, fill, load, store
from tag2mask.ops.lattice.permutohedral import Lattice, blur
from tag2mask.ops.lattice.setup_kernels import kernel

_CHUNK = 128  # points that are transposed together: from one row per map to one short run per point


def filter_gain(dims: int) -> float:
    """The factor 1 / (1 + 2^-d) on the result of splat, blur and slice, for d features.

    Kraehenbuehl's C++ code multiplies by it. In a normalised filter it cancels, as in the CRF. The published
    energies are not normalised, and their weights count on it.

    Example:
        >>> filter_gain(1)
        0.6666666666666666
    """
    return 1 / (1 + 2.0**-dims)


def lattice_filter(lattice: Lattice, maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Sum maps over all points with the Gaussian weights of a lattice, without normalisation.

    Adams, Baek, Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics
    2010, section 3. The sum at a point includes the point itself. Runs on one thread, without the GIL.

    Args:
        lattice: of N points with 5 features, from `build_lattice`.
        maps: float32 (K, N), of any strides.

    Returns:
        float32 (K, N), 0.55 to 0.65 of the exact sums on images (the lattice's kernel has a lower peak).

    Raises:
        ValueError: a lattice of other than 5 features, or maps of another type or shape.

    Example:
        >>> from tag2mask.ops.lattice.permutohedral import build_lattice
        >>> lattice = build_lattice(np.zeros((5, 3), np.float32))  # three points in one place
        >>> filtered = lattice_filter(lattice, np.array([[1, 2, 4]], np.float32))
        >>> bool(np.ptp(filtered) < 1e-6)
        True
    """
    count, corners = lattice.vertices.shape
    if corners != 6:
        raise ValueError(f"lattice: expected one of 5 features, got {corners - 1}")
    if maps.ndim != 2 or maps.shape[1] != count or maps.dtype != np.float32 or maps.size == 0:
        raise ValueError(f"maps: expected float32 (K, {count}), got {maps.dtype} {maps.shape}")
    step = -(-len(maps) // WIDTH) * WIDTH
    arrays = (lattice.vertices, lattice.weights, lattice.neighbours)
    out = np.empty(maps.shape, np.float32)
    _filter(maps, arrays, step, np.float32(filter_gain(5)), out)
    return out


@kernel
def gather(messages: Any, values: Any, lattice: Any, corners: int, p: int, step: int, k: int) -> Any:
    """Slice: `messages` plus the four numbers from `k` on of point `p`, read from the vertices."""
    for j in range(corners):
        at = np.int64(lattice[0][p, j]) * step + k
        messages = add_scaled(messages, lattice[1][p, j], load(values, at))
    return messages


@kernel
def scatter(q: Any, values: Any, lattice: Any, corners: int, p: int, step: int, k: int) -> None:
    """Splat: add four numbers `q` of point `p` to the vertices, from `k` on."""
    for j in range(corners):
        at = np.int64(lattice[0][p, j]) * step + k
        store(values, at, add_scaled(load(values, at), lattice[1][p, j], q))


@kernel
def _filter(maps: Any, lattice: Any, step: int, gain: Any, out: Any) -> None:
    # The corner count 6 is written out, so that the compiler unrolls the loops over it.
    count, n = maps.shape
    values = np.zeros(lattice[2].shape[1] * step, np.float32)
    spare = np.zeros(values.size, np.float32)
    chunk = np.zeros(_CHUNK * step, np.float32)
    for start in range(0, n, _CHUNK):
        points = min(_CHUNK, n - start)
        for k in range(count):
            for i in range(points):
                chunk[i * step + k] = maps[k, start + i]
        for i in range(points):
            for k in range(0, step, WIDTH):
                scatter(load(chunk, i * step + k), values, lattice, 6, start + i, step, k)
    values, spare = blur(values, spare, lattice[2], step)
    zero = fill(np.float32(0))
    for start in range(0, n, _CHUNK):
        points = min(_CHUNK, n - start)
        for i in range(points):
            for k in range(0, step, WIDTH):
                store(chunk, i * step + k, gather(zero, values, lattice, 6, start + i, step, k))
        for k in range(count):
            for i in range(points):
                out[k, start + i] = chunk[i * step + k] * gain
