"""The permutohedral lattice: Gaussian filtering of scattered points in a few dimensions.

Adams, Baek, Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics 2010.
A point with d features lies in one simplex of the lattice. Its value is spread over the d + 1 corners
(splat). The corners are blurred along the d + 1 axes (blur). The result is read back with the weights of the
first step (slice).

The arithmetic of the set-up is float32, in the order of Kraehenbuehl's C++ code. So points on the border of
two simplices (gray pixels: r = g = b) fall into the same one as there, and the lattices are equal bit by bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tag2mask.ops.lattice.lanes import WIDTH, add, add_scaled, load, store
from tag2mask.ops.lattice.setup_kernels import build_kernel, kernel


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
        """A lattice with the filter F'(x) = strength n F(n x), where n = 1 / sqrt(F(1)) at each point.

        This is symmetric normalisation. The factors go into the weights of splat and slice, half into
        each, so that filtering costs no more.
        """
        weights = _normalise(self.vertices, self.weights, self.neighbours, np.float32(strength))
        return Lattice(self.vertices, weights, self.neighbours)


def build_lattice(features: npt.NDArray[np.float32]) -> Lattice:
    """Build the lattice of N points, for a Gaussian of standard deviation 1 in every feature.

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
    scale = feature_scale(dims)
    vertices = np.empty((count, dims + 1), np.int32)
    weights = np.empty((count, dims + 1), np.float32)
    strides, _ = key_strides(features.min(axis=1), features.max(axis=1))
    neighbours = build_kernel(features, scale, strides, int(strides.sum()), vertices, weights)
    return Lattice(vertices, weights, neighbours)


def feature_scale(dims: int) -> npt.NDArray[np.float32]:
    """Factors (d,) on the features with which the whole filter has a standard deviation of 1 in each."""
    # Expected deviation of splat, blur and slice together (Adams et al. 2010, section 3).
    deviation = np.float32(np.sqrt(2.0 / 3.0) * (dims + 1))
    return np.array([float(deviation) / np.sqrt((i + 2.0) * (i + 1.0)) for i in range(dims)], np.float32)


def key_strides(
    lowest: npt.NDArray[np.float32], highest: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], int]:
    """Factors (d + 1,) that pack a vertex (its first d integer coordinates) into an int64 without clashes.

    Args:
        lowest: (d,) smallest value of each feature.
        highest: (d,) largest value of each feature.

    Returns:
        the factors, and a bound: the keys of any two vertices differ by less than it.

    Raises:
        ValueError: the features are not finite, or 62 bits cannot count the lattice cells between them.
    """
    dims = len(lowest)
    scale = feature_scale(dims)
    low, high = lowest.astype(np.float64) * scale, highest.astype(np.float64) * scale
    strides, size = np.zeros(dims + 1, np.int64), 1
    for i in range(dims):
        extent = (high[i:] - low[i:]).sum() + (i * (high[i - 1] - low[i - 1]) if i else 0.0)
        if not np.isfinite(extent) or size * (extent + 8 * (dims + 2)) >= 2.0**62:
            raise ValueError("features: they span too many lattice cells; use larger standard deviations")
        strides[i] = size
        # Corners and their neighbours lie at most 4 (d + 1) beyond the points, on either side.
        size *= int(extent) + 8 * (dims + 1) + 2
    return strides, size


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
