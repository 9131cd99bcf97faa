"""Dense energy loss over a plain permutohedral lattice, one class at a time.

What the C++ filter of the published code does, image by image: place all points (Adams, Baek, Davis 2010),
then splat, blur and slice every class for itself. Loops compiled by numba; the set-up of one image takes
about what Kraehenbuehl's C++ lattice takes. On one thread.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

D = 5


def dense_energy(
    images: Tensor, probs: Tensor, labels: Tensor, roi: Tensor, sigma_rgb: float, sigma_xy: float
) -> tuple[float, Tensor]:
    """Value and gradient by `probs` (B, K, H, W), at the resolution of the images (B, 3, H, W)."""
    gate = roi - probs.amax(1)
    gate[labels == 255] = 1
    gate[gate < 0] = 0
    masked = (probs * roi[:, None]).numpy()
    filtered = np.empty_like(masked)
    for index in range(len(images)):
        corners, weights, neighbours = lattice(features(images[index].numpy(), sigma_rgb, sigma_xy))
        for k in range(masked.shape[1]):
            one = filter_one(corners, weights, neighbours, masked[index, k].ravel())
            filtered[index, k] = one.reshape(masked.shape[2:])
    gated = filtered * gate[:, None].numpy()
    value = -np.sum(masked * gated, dtype=np.float64) / len(images)
    return float(value), torch.from_numpy(gated) * (-2 / len(images)) * roi[:, None]


def features(image: np.ndarray, sigma_rgb: float, sigma_xy: float) -> np.ndarray:
    """(N, 5) coordinates of an image (3, H, W), one row a pixel."""
    y, x = np.mgrid[: image.shape[1], : image.shape[2]]
    rows = [x / sigma_xy, y / sigma_xy, *(image / sigma_rgb)]
    return np.stack(rows, -1).reshape(-1, D).astype(np.float32)


@numba.njit(cache=True)
def find(key: int, keys: Any, table: Any) -> int:
    """Place in the hash table of a key, or the empty one where it belongs."""
    place = (key * 0x9E3779B1) % len(table)
    while table[place] >= 0 and keys[table[place]] != key:
        place = (place + 1) % len(table)
    return place


@numba.njit(cache=True)
def simplex(point: Any, rest: Any, corner: Any, rank: Any, weights: Any) -> None:
    """Remainder-0 corner of a point's simplex, ranks of its coordinates and its barycentric weights."""
    total = np.float32(0)
    for j in range(D, 0, -1):
        scaled = point[j - 1] * np.float32(np.sqrt(2 / 3) * (D + 1) / np.sqrt((j + 1) * j))
        rest[j] = total - np.float32(j) * scaled
        total += scaled
    rest[0] = total
    moved = 0
    for i in range(D + 1):
        nearest = np.rint(rest[i] / np.float32(D + 1))
        moved += int(nearest)
        corner[i] = int(nearest) * (D + 1)
        rest[i] -= np.float32(corner[i])
        rank[i] = 0
    for i in range(D):
        for j in range(i + 1, D + 1):
            if rest[i] < rest[j]:
                rank[i] += 1
            else:
                rank[j] += 1
    weights[:] = 0
    for i in range(D + 1):
        rank[i] += moved
        wrap = (D + 1) * (int(rank[i] < 0) - int(rank[i] > D))
        rank[i] += wrap
        corner[i] += wrap
        share = (rest[i] - np.float32(wrap)) / np.float32(D + 1)
        weights[D - rank[i]] += share
        weights[D + 1 - rank[i]] -= share
    weights[0] += np.float32(1) + weights[D + 1]


@numba.njit(cache=True)
def lattice(points: Any) -> Any:
    """Corners and weights (N, 6) of all points, and the two neighbours (6, M, 2) of each vertex."""
    count, used = len(points), 0
    table, keys = np.full(2 * count * (D + 1), -1), np.empty(count * (D + 1), np.int64)
    corners, weights = np.empty((count, D + 1), np.int32), np.empty((count, D + 1), np.float32)
    rest, corner, rank = np.empty(D + 1, np.float32), np.empty(D + 1, np.int64), np.empty(D + 1, np.int64)
    shares = np.empty(D + 2, np.float32)
    for p in range(count):
        simplex(points[p], rest, corner, rank, shares)
        for r in range(D + 1):
            key = 0
            for i in range(D):  # 12 bits a coordinate
                key = key * 4096 + corner[i] + r - ((D + 1) if rank[i] > D - r else 0)
            place = find(key, keys, table)
            if table[place] < 0:
                table[place] = used
                keys[used] = key
                used += 1
            corners[p, r], weights[p, r] = table[place], shares[r]
    neighbours = np.empty((D + 1, used, 2), np.int32)
    for axis in range(D + 1):
        step = 0
        for i in range(D):
            step = step * 4096 + 1 - (D + 1) * int(i == axis)
        for vertex in range(used):
            neighbours[axis, vertex, 0] = table[find(keys[vertex] - step, keys, table)]
            neighbours[axis, vertex, 1] = table[find(keys[vertex] + step, keys, table)]
    return corners, weights, neighbours


@numba.njit(cache=True)
def filter_one(corners: Any, weights: Any, neighbours: Any, values: Any) -> Any:
    """Splat, blur and slice one class, (N,) to (N,)."""
    old, new = np.zeros(neighbours.shape[1] + 1, np.float32), np.zeros(neighbours.shape[1] + 1, np.float32)
    for p in range(len(values)):
        for r in range(D + 1):
            old[corners[p, r] + 1] += weights[p, r] * values[p]
    for axis in range(D + 1):
        for vertex in range(neighbours.shape[1]):
            sides = old[neighbours[axis, vertex, 0] + 1] + old[neighbours[axis, vertex, 1] + 1]
            new[vertex + 1] = old[vertex + 1] + np.float32(0.5) * sides
        old, new = new, old
    out = np.zeros(len(values), np.float32)
    for p in range(len(values)):
        for r in range(D + 1):
            out[p] += weights[p, r] * old[corners[p, r] + 1]
        out[p] *= np.float32(1 / (1 + 2.0**-D))
    return out
