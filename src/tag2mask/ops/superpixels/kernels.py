"""Compiled loops of graph-based segmentation.

No step may round differently from scikit-image: sums keep its order, and no operations are fused.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tag2mask.ops.compiled import compiled

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@compiled()
def blur_kernel(image: Floats, weights: Floats, rows: Integers, columns: Integers, out: Floats) -> None:
    """Symmetric filter along the columns, then along the rows.

    Args:
        image: (H, W * C), channels innermost.
        weights: (reach + 1,) from the centre outwards.
        rows: (reach + H + reach,) the row that stands at each place of the extended image.
        columns: (reach + W + reach,) the same for columns.
        out: (H, W * C), written.
    """
    height, width = image.shape[0], columns.shape[0] - 2 * (weights.shape[0] - 1)
    channels, reach = image.shape[1] // width, weights.shape[0] - 1
    wide = np.empty(columns.shape[0] * channels, image.dtype)
    middle = wide[reach * channels : (reach + width) * channels]
    for y in range(height):
        for i in range(middle.shape[0]):
            middle[i] = image[y, i] * weights[0]
        for r in range(reach, 0, -1):
            above, below, weight = image[rows[reach + y - r]], image[rows[reach + y + r]], weights[r]
            for i in range(middle.shape[0]):
                middle[i] += (above[i] + below[i]) * weight
        _extend(wide, columns, reach, channels)
        line = out[y]
        for i in range(line.shape[0]):
            line[i] = middle[i] * weights[0]
        for r in range(reach, 0, -1):
            before, after = wide[(reach - r) * channels :], wide[(reach + r) * channels :]
            weight = weights[r]
            for i in range(line.shape[0]):
                line[i] += (before[i] + after[i]) * weight


@compiled(inline="always")
def _extend(wide: Floats, columns: Integers, reach: int, channels: int) -> None:
    last = columns.shape[0] - reach
    for i in range(columns.shape[0]):
        if i < reach or i >= last:
            for c in range(channels):
                wide[i * channels + c] = wide[(reach + columns[i]) * channels + c]


@compiled()
def edge_kernel(image: Floats, width: int, costs: Floats, edges: npt.NDArray[np.int32]) -> None:
    """Euclidean colour distances of neighbouring pixels: right, down, down right and down left.

    Args:
        image: (H * W, 3).
        width: W.
        costs: (edges,), written, one kind after the other, each in row-major order.
        edges: (edges,), written: 4 times the first pixel plus the kind, see `partner_steps`.
    """
    height, e = image.shape[0] // width, 0
    steps = partner_steps(width)
    for kind in range(4):
        for y in range(height - (kind > 0)):
            begin, end = y * width + (kind == 3), (y + 1) * width - (kind == 0 or kind == 2)
            for first in range(begin, end):
                here, there = image[first], image[first + steps[kind]]
                one, two, three = here[0] - there[0], here[1] - there[1], here[2] - there[2]
                costs[e] = np.sqrt(one * one + two * two + three * three)
                edges[e] = 4 * first + kind
                e += 1


@compiled(inline="always")
def partner_steps(width: int) -> tuple[int, int, int, int]:
    """How much later in row-major order the second pixel of each kind of edge lies."""
    return 1, width, width + 1, width - 1


@compiled()
def merge_kernel(
    edges: npt.NDArray[np.int32],
    costs: Floats,
    order: npt.NDArray[np.intp],
    width: int,
    scale: float,
    min_size: int,
    labels: Integers,
) -> None:
    """Merge regions along edges of rising cost, then those that stayed too small.

    Args:
        edges: (edges,) see `edge_kernel`.
        costs: (edges,).
        order: (edges,) indices that sort the costs.
        width: W.
        scale: how much a region of one pixel may differ inside.
        min_size: least number of pixels of a region.
        labels: (H * W,), written: 0, 1, ... in the order of first pixels.
    """
    pixels, steps = labels.shape[0], partner_steps(width)
    parents, sizes = np.arange(pixels).astype(np.int32), np.ones(pixels, np.int64)
    limits = np.full(pixels, scale)
    open_edges, count = np.empty_like(edges), 0
    for index in order:
        edge, cost = edges[index], costs[index]
        one = _root(parents, edge >> 2)
        two = _root(parents, (edge >> 2) + steps[edge & 3])
        if one == two:
            continue
        if cost < min(limits[one], limits[two]):
            root = _join(parents, sizes, one, two)
            limits[root] = cost + scale / sizes[root]
        else:
            open_edges[count] = edge
            count += 1
    for edge in open_edges[:count]:
        one = _root(parents, edge >> 2)
        two = _root(parents, (edge >> 2) + steps[edge & 3])
        if one != two and min(sizes[one], sizes[two]) < min_size:
            _join(parents, sizes, one, two)
    _number(parents, labels)


@compiled(inline="always")
def _root(parents: npt.NDArray[np.int32], node: int) -> int:
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@compiled(inline="always")
def _join(parents: npt.NDArray[np.int32], sizes: Integers, one: int, two: int) -> int:
    root, other = min(one, two), max(one, two)
    parents[other] = root
    sizes[root] += sizes[other]
    return root


@compiled()
def _number(parents: npt.NDArray[np.int32], labels: Integers) -> None:
    count = 0
    for node in range(labels.shape[0]):
        root = _root(parents, node)
        if root == node:
            labels[node] = count
            count += 1
        else:
            labels[node] = labels[root]
