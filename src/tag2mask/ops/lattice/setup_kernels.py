"""Compiled set-up of a permutohedral lattice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tag2mask.ops.compiled import compiled

_CHUNK = 128  # points that are placed together: small enough for the first-level cache
_FIRST_TABLE = 1 << 17


def kernel(function: Callable[..., Any]) -> Any:
    """A function as `compiled` takes it.

    To compile fast, kernels use plain loops (assigning a row or `sum` cost a second each) and pass no bare
    integer to each other (numba compiles once more for each), unless a loop is to be unrolled.
    """
    return compiled()(function)


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
def build_kernel(features: Any, scale: Any, strides: Any, step: int, vertices: Any, weights: Any) -> Any:
    """Place all points: fill `vertices` and `weights` (N, d + 1); returns the neighbours of all vertices."""
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
