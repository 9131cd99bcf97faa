"""Compiled random walk as a stencil over the symmetric pair planes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tag2mask.ops.compiled import compiled

Floats = npt.NDArray[np.floating[Any]]

_BLOCK = 1024


@compiled(fastmath={"contract"})
def _gather(
    planes: Floats, shifts: npt.NDArray[np.int64], current: Floats, sums: Floats, start: int, size: int
) -> None:
    end = start + size
    for o in range(shifts.shape[0]):
        shift = shifts[o]
        later, earlier = planes[o, start:end], planes[o, start - shift : end - shift]
        after, before = current[start + shift : end + shift], current[start - shift : end - shift]
        for i in range(size):
            sums[i] += later[i] * after[i] + earlier[i] * before[i]


@compiled(fastmath={"contract"})
def _accumulate(total: Floats, term: Floats, coefficient: np.floating[Any]) -> None:
    if coefficient != 0:
        for i in range(total.shape[0]):
            total[i] += coefficient * term[i]


@compiled(fastmath={"contract"})
def _step(
    planes: Floats,
    shifts: npt.NDArray[np.int64],
    inverse: Floats,
    current: Floats,
    previous: Floats,
    factor: np.floating[Any],
    margin: int,
    nodes: int,
) -> None:
    """Replace `previous` by factor * P current - previous, in blocks that stay in the nearest cache."""
    sums = np.empty(_BLOCK, current.dtype)
    for start in range(margin, margin + nodes, _BLOCK):
        size = min(_BLOCK, margin + nodes - start)
        sums[:size] = current[start : start + size]
        _gather(planes, shifts, current, sums, start, size)
        for i in range(size):
            node = start + i
            previous[node] = factor * inverse[node] * sums[i] - previous[node]


@compiled(fastmath={"contract"})
def walk_kernel(
    planes: Floats, shifts: npt.NDArray[np.int64], state: Floats, coefficients: Floats, total: Floats
) -> None:
    """sum_k c_k T_k(P) x, by T_k+1 = 2 P T_k - T_k-1, for maps in row-major order.

    P = D^-1 W, where W has ones on the diagonal and `planes` beside it. A shift may run over the end
    of a row: no pair is there, so the weight is 0.

    Args:
        planes: (offsets, margin + N + margin) weights of the pairs, 0 without a pair and in the
            margins; a margin is as long as the largest shift.
        shifts: (offsets,) distance of a source to its partner in row-major order.
        state: (K, margin + N + margin) maps, 0 in the margins; overwritten.
        coefficients: (degree + 1,) c_0, c_1, ...
        total: (K, N), written.
    """
    maps, nodes = total.shape
    margin = (state.shape[1] - nodes) // 2
    one = planes.dtype.type(1)
    inverse = np.ones_like(planes[0])
    _gather(planes, shifts, np.ones_like(planes[0]), inverse[margin:], margin, nodes)
    for i in range(margin, margin + nodes):
        inverse[i] = one / inverse[i]
    previous, current = np.zeros_like(state), state
    for k in range(maps):
        total[k] = coefficients[0] * state[k, margin : margin + nodes]
    for degree in range(1, coefficients.shape[0]):
        factor = one if degree == 1 else one + one
        for k in range(maps):
            _step(planes, shifts, inverse, current[k], previous[k], factor, margin, nodes)
            _accumulate(total[k], previous[k, margin : margin + nodes], coefficients[degree])
        previous, current = current, previous
