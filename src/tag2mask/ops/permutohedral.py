"""The permutohedral lattice: Gaussian filtering of scattered points in a few dimensions.

Adams, Baek, Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics 2010.
A point with d features lies in one simplex of the lattice. Its value is spread over the d + 1 corners
(splat), the corners are blurred along the d + 1 axes, and the result is read back with the same weights
(slice). The arithmetic of the set-up is float32 in the order of Kraehenbuehl's C++ code: points on the
border of two simplices (gray pixels: r = g = b) fall into the same one, so the lattices are equal bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from tag2mask.ops._lanes import WIDTH, add, add_scaled, load, store

_CHUNK = 128  # points that are placed together: small enough for the first-level cache
_FIRST_TABLE = 1 << 17


def kernel(function: Callable[..., Any]) -> Any:
    """Compile at the first call, keep the code on disk, and release the interpreter lock while it runs.

    To compile fast, kernels use plain loops (assigning a row or `sum` cost a second each) and pass no bare
    integer to each other (numba compiles once more for each), unless a loop is to be unrolled.
    """
    return numba.njit(nogil=True, cache=True)(function)


@dataclass(frozen=True)
class Lattice:
    """The lattice of N points with d features, with M vertices in use; vertex 0 stands for "none".

    Attributes:
        vertices: int32 (N, d + 1), the corners of each point's simplex, in 1..M.
        weights: float32 (N, d + 1), weights of the corners. Barycentric (each row sums to 1) from
            `build_lattice`, rescaled by `normalised`.
        neighbours: int32 (d + 1, M + 1, 2), the two neighbours of each vertex along each axis.
    """

    vertices: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    neighbours: npt.NDArray[np.int32]

    def normalised(self, strength: float) -> Lattice:
        """The lattice whose filter F' = strength n F(n x), with n = 1 / sqrt(F(1)) for each point.

        Symmetric normalisation; the factor is split evenly over the weights of splat and slice, so that
        it costs nothing while filtering.
        """
        weights = _normalise(self.vertices, self.weights, self.neighbours, np.float32(strength))
        return Lattice(self.vertices, weights, self.neighbours)


def build_lattice(features: npt.NDArray[np.float32]) -> Lattice:
    """The lattice of N points, for a Gaussian of standard deviation 1 in every feature.

    Args:
        features: float32 (d, N), coordinates divided by the standard deviation wanted.

    Returns:
        the lattice with barycentric weights.

    Raises:
        ValueError: not a float32 (d, N) array, or it spans more lattice cells than 62 bits can count.
    """
    if features.ndim != 2 or features.dtype != np.float32 or features.size == 0:
        raise ValueError(f"features: expected float32 (d, N), got {features.dtype} {features.shape}")
    features = np.ascontiguousarray(features)
    dims, count = features.shape
    # Expected deviation of splat, blur and slice together (Adams et al. 2010, section 3).
    deviation = np.float32(np.sqrt(2.0 / 3.0) * (dims + 1))
    scale = np.array([float(deviation) / np.sqrt((i + 2.0) * (i + 1.0)) for i in range(dims)], np.float32)
    vertices = np.empty((count, dims + 1), np.int32)
    weights = np.empty((count, dims + 1), np.float32)
    strides = _strides(features, scale)
    neighbours = _build(features, scale, strides, int(strides.sum()), vertices, weights)
    return Lattice(vertices, weights, neighbours)


def _strides(features: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Factors (d + 1,) that pack a vertex (its first d integer coordinates) into an int64 without clashes."""
    dims = len(features)
    low = features.min(axis=1).astype(np.float64) * scale
    high = features.max(axis=1).astype(np.float64) * scale
    strides, size = np.zeros(dims + 1, np.int64), 1
    for i in range(dims):
        extent = (high[i:] - low[i:]).sum() + (i * (high[i - 1] - low[i - 1]) if i else 0.0)
        if not np.isfinite(extent) or size * (extent + 8 * (dims + 2)) >= 2.0**62:
            raise ValueError("features: they span too many lattice cells; use larger standard deviations")
        strides[i] = size
        # Corners and their neighbours lie at most 4 (d + 1) beyond the points, on either side.
        size *= int(extent) + 8 * (dims + 1) + 2
    return strides


@kernel
def _find(key: Any, table: Any, new: int) -> Any:
    """The vertex with this key, by linear probing; an unknown key becomes vertex `new` unless that is 0."""
    mask = table.shape[0] - 1
    mixed = (key ^ (key >> 29)) * 0x2545F4914F6CDD1D
    slot = (mixed >> 32) & mask
    while table[slot, 1] != 0:
        if table[slot, 0] == key:
            return table[slot, 1]
        slot = (slot + 1) & mask
    if new != 0:
        table[slot, 0] = key
        table[slot, 1] = new
    return new


@kernel
def _table(size: int, keys: Any, count: int) -> Any:
    table = np.zeros((size, 2), np.int64)
    for i in range(1, count + 1):
        _find(keys[i], table, i)
    return table


@kernel
def _elevate(features: Any, start: int, count: int, scale: Any, elevated: Any, total: Any) -> None:
    """Rows of `elevated`: the points on the plane of the lattice, in d + 1 coordinates that sum to 0."""
    for t in range(count):
        total[t] = 0
    for j in range(features.shape[0], 0, -1):
        factor, row = scale[j - 1], np.float32(j)
        for t in range(count):
            scaled = features[j - 1, start + t] * factor
            elevated[j, t] = total[t] - row * scaled
            total[t] += scaled
    for t in range(count):
        elevated[0, t] = total[t]


@kernel
def _place(elevated: Any, corner: Any, rank: Any, total: Any) -> None:
    """Each point's remainder-0 corner and the rank of its coordinates; `elevated` becomes what is left."""
    corners, count = elevated.shape
    full, zero, one = np.float32(corners), np.float32(0), np.float32(1)
    inverse = one / full
    for t in range(count):
        total[t] = 0
    for i in range(corners):
        for t in range(count):
            rank[i, t] = 0
            rounded = np.rint(inverse * elevated[i, t])
            corner[i, t] = rounded * full
            total[t] += rounded
    for i in range(corners - 1):
        for j in range(i + 1, corners):
            for t in range(count):
                below = elevated[i, t] - corner[i, t] < elevated[j, t] - corner[j, t]
                rank[i, t] += one if below else zero
                rank[j, t] += zero if below else one
    for i in range(corners):
        for t in range(count):
            shifted = rank[i, t] + total[t]
            move = (full if shifted < zero else zero) - (full if shifted >= full else zero)
            rank[i, t] = shifted + move
            corner[i, t] += move
            elevated[i, t] = (elevated[i, t] - corner[i, t]) * inverse


@kernel
def _corners(
    part: Any, corner: Any, rank: Any, t: int, strides: Any, step: int, order: Any, keys: Any, weights: Any
) -> None:
    """Packed keys and barycentric weights of the corners of point `t` of a chunk."""
    last = order.size - 1
    key = np.int64(0)
    for i in range(order.size):
        order[np.int64(rank[i, t])] = i
        key += np.int64(corner[i, t]) * strides[i]
    axis = order[last]
    before = part[axis, t]
    keys[0] = key
    weights[0] = before + (np.float32(1) - part[order[0], t])
    for r in range(1, order.size):
        key += step - order.size * strides[axis]
        keys[r] = key
        axis = order[last - r]
        weights[r] = part[axis, t] - before
        before = part[axis, t]


@kernel
def _build(features: Any, scale: Any, strides: Any, step: int, vertices: Any, weights: Any) -> Any:
    size = strides.size
    elevated = np.empty((size, _CHUNK), np.float32)
    corner = np.empty((size, _CHUNK), np.float32)
    rank = np.empty((size, _CHUNK), np.float32)
    total = np.empty(_CHUNK, np.float32)
    order = np.empty(size, np.int64)
    keys = np.empty(size, np.int64)
    known = np.empty(_FIRST_TABLE, np.int64)
    used = np.int64(0)
    table = _table(known.size, known, used)
    for start in range(0, features.shape[1], _CHUNK):
        count = min(_CHUNK, features.shape[1] - start)
        _elevate(features, start, count, scale, elevated, total)
        _place(elevated, corner, rank, total)
        if 2 * (used + size * _CHUNK) > table.shape[0]:
            larger = np.empty(2 * known.size, np.int64)
            for i in range(1, used + 1):
                larger[i] = known[i]
            known = larger
            table = _table(known.size, known, used)
        for t in range(count):
            _corners(elevated, corner, rank, t, strides, step, order, keys, weights[start + t])
            for r in range(size):
                vertex = _find(keys[r], table, used + 1)
                if vertex > used:
                    used = vertex
                    known[used] = keys[r]
                vertices[start + t, r] = vertex
    return _link(known, used, table, strides, step)


@kernel
def _link(known: Any, used: int, table: Any, strides: Any, step: int) -> Any:
    neighbours = np.zeros((strides.size, used + 1, 2), np.int32)
    for axis in range(strides.size):
        shift = step - strides.size * strides[axis]
        for i in range(1, used + 1):
            other = _find(known[i] + shift, table, np.int64(0))
            if other != 0:
                neighbours[axis, i, 1] = other
                neighbours[axis, other, 0] = i
    return neighbours


@kernel
def blur(values: Any, spare: Any, neighbours: Any, step: int) -> Any:
    """Blur `values` (flat, `step` numbers a vertex) along all axes; returns (result, the other buffer)."""
    half = np.float32(0.5)
    for axis in range(neighbours.shape[0]):
        for i in range(1, neighbours.shape[1]):
            left = np.int64(neighbours[axis, i, 0]) * step
            right = np.int64(neighbours[axis, i, 1]) * step
            for k in range(0, step, WIDTH):
                sides = add(load(values, left + k), load(values, right + k))
                store(spare, i * step + k, add_scaled(load(values, i * step + k), half, sides))
        values, spare = spare, values
    return values, spare


@kernel
def _normalise(vertices: Any, weights: Any, neighbours: Any, strength: Any) -> Any:
    step = np.int64(WIDTH)
    values = np.zeros(neighbours.shape[1] * step, np.float32)
    spare = np.zeros(neighbours.shape[1] * step, np.float32)
    for p in range(vertices.shape[0]):
        for j in range(vertices.shape[1]):
            values[np.int64(vertices[p, j]) * step] += weights[p, j]
    values, spare = blur(values, spare, neighbours, step)
    scaled = np.empty(weights.shape, np.float32)
    for p in range(vertices.shape[0]):
        norm = np.float32(1e-20)
        for j in range(vertices.shape[1]):
            norm += weights[p, j] * values[np.int64(vertices[p, j]) * step]
        factor = np.sqrt(strength / norm)
        for j in range(vertices.shape[1]):
            scaled[p, j] = weights[p, j] * factor
    return scaled
