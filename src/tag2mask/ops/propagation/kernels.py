"""Compiled linear propagation in four directions.

Maps come as flat planes in row-major order. What a direction updates at once is a line, a column or a
row, and lines are copied to buffers first: the arithmetic then runs on neighbouring places whatever
the direction, and no copy of the whole gates in another order is needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tag2mask.ops.compiled import compiled

Floats = npt.NDArray[np.floating[Any]]
Orders = npt.NDArray[np.int64]


def scan_orders(height: int, width: int) -> Orders:
    """How each direction runs through a flat plane.

    Returns:
        (4, 5): number of lines, their length, the place where the first line starts, the step to the
        next line and the step along a line.

    Example:
        >>> scan_orders(2, 3)[1]
        array([ 3,  2,  2, -1,  3])
    """
    last_row = (height - 1) * width
    return np.array(
        [
            (width, height, 0, 1, width),
            (width, height, width - 1, -1, width),
            (height, width, 0, width, 1),
            (height, width, last_row, -width, 1),
        ]
    )


@compiled(inline="always")
def _load(row: Floats, plane: Floats, start: int, step: int) -> None:
    for i in range(row.shape[0]):
        row[i] = plane[start + i * step]


@compiled(inline="always")
def _store(plane: Floats, start: int, step: int, row: Floats) -> None:
    for i in range(row.shape[0]):
        plane[start + i * step] = row[i]


@compiled(inline="always")
def _load_gates(rows: Floats, gates: Floats, c: int, start: int, step: int) -> None:
    """Three gates of a line; those whose neighbour lies outside the map become 0."""
    for k in range(3):
        _load(rows[k], gates[k, c], start, step)
    rows[0, 0] = 0
    rows[2, rows.shape[1] - 1] = 0


@compiled()
def forward_kernel(
    x: Floats, gates: Floats, least: np.floating[Any], orders: Orders, out: Floats, first: int, end: int
) -> None:
    """Propagate channels first..end-1 of one image in all directions.

    Args:
        x: (C, N) input, N = H * W.
        gates: (4, 3, C, N).
        least: least divisor of the gates.
        orders: see `scan_orders`.
        out: (4, C, N), written.
        first: first channel.
        end: channel after the last.
    """
    for d in range(4):
        times, length, start, next_line, step = orders[d]
        rows, here = np.empty((3, length), x.dtype), np.empty(length, x.dtype)
        before, now = np.zeros(length + 2, x.dtype), np.zeros(length + 2, x.dtype)
        for c in range(first, end):
            _load(before[1:-1], x[c], start, step)
            _store(out[d, c], start, step, before[1:-1])
            for t in range(1, times):
                place = start + t * next_line
                _load_gates(rows, gates[d], c, place, step)
                _load(here, x[c], place, step)
                _forward_line(rows, here, before, now, least)
                _store(out[d, c], place, step, now[1:-1])
                before, now = now, before


@compiled(fastmath={"contract"}, error_model="numpy")
def _forward_line(gates: Floats, here: Floats, before: Floats, now: Floats, least: np.floating[Any]) -> None:
    one, two, three = gates[0], gates[1], gates[2]
    for i in range(here.shape[0]):
        total = abs(one[i]) + abs(two[i]) + abs(three[i])
        left, mid, right = before[i] - here[i], before[i + 1] - here[i], before[i + 2] - here[i]
        # Differences keep constants to the last digit.
        rise = one[i] * left + two[i] * mid + three[i] * right
        now[i + 1] = here[i] + rise / max(total, least)


@compiled()
def backward_kernel(
    x: Floats,
    gates: Floats,
    least: np.floating[Any],
    orders: Orders,
    out: Floats,
    grad: Floats,
    grad_x: Floats,
    grad_gates: Floats,
    first: int,
    end: int,
) -> None:
    """Gradients of channels first..end-1 of one image.

    Args:
        x: (C, N) input.
        gates: (4, 3, C, N).
        least: least divisor of the gates.
        orders: see `scan_orders`.
        out: (4, C, N) what `forward_kernel` wrote.
        grad: (4, C, N) gradient by `out`.
        grad_x: (C, N), added to.
        grad_gates: (4, 3, C, N), written.
        first: first channel.
        end: channel after the last.
    """
    for d in range(4):
        times, length, start, next_line, step = orders[d]
        rows, here = np.empty((3, length), x.dtype), np.empty(length, x.dtype)
        slopes, rest = np.zeros((3, length), x.dtype), np.empty(length, x.dtype)
        before, handed = np.zeros(length + 2, x.dtype), np.empty((3, length + 2), x.dtype)
        for c in range(first, end):
            handed[:] = 0
            for t in range(times - 1, -1, -1):
                place = start + t * next_line
                _load(rest, grad[d, c], place, step)
                _receive(rest, handed)
                if t > 0:
                    _load_gates(rows, gates[d], c, place, step)
                    _load(here, x[c], place, step)
                    _load(before[1:-1], out[d, c], place - next_line, step)
                    _backward_line(rows, here, before, rest, slopes, handed, least)
                else:
                    slopes[:] = 0
                for k in range(3):
                    _store(grad_gates[d, k, c], place, step, slopes[k])
                for i in range(length):
                    grad_x[c, place + i * step] += rest[i]


@compiled()
def _receive(rest: Floats, handed: Floats) -> None:
    """Add what the places of the later line hand to their three neighbours on this one."""
    above, level, below = handed[0], handed[1], handed[2]
    for i in range(rest.shape[0]):
        rest[i] += above[i + 2] + level[i + 1] + below[i]


@compiled(fastmath={"contract"}, error_model="numpy")
def _backward_line(
    gates: Floats,
    here: Floats,
    before: Floats,
    rest: Floats,
    slopes: Floats,
    handed: Floats,
    least: np.floating[Any],
) -> None:
    """One line back: `rest` holds the gradient by the line's result and gets the one by its input.

    With p_k = g_k / s, s = max(sum |g|, least) and r_k = h_{t-1}(i+k) - x_t(i), the slope by g_k is
    rest / s (r_k - sign(g_k) sum_j p_j r_j), without the sum where `least` is the divisor.
    """
    one, two, three = gates[0], gates[1], gates[2]
    slope1, slope2, slope3 = slopes[0], slopes[1], slopes[2]
    above, level, below = handed[0], handed[1], handed[2]
    for i in range(here.shape[0]):
        total = abs(one[i]) + abs(two[i]) + abs(three[i])
        scale = rest[i] / max(total, least)
        left, mid, right = before[i] - here[i], before[i + 1] - here[i], before[i + 2] - here[i]
        shared = one[i] * left + two[i] * mid + three[i] * right
        mean = shared / total if total > least else total - total
        slope1[i] = scale * (left - _signed(one[i], mean))
        slope2[i] = scale * (mid - _signed(two[i], mean))
        slope3[i] = scale * (right - _signed(three[i], mean))
        above[i + 1] = scale * one[i]
        level[i + 1] = scale * two[i]
        below[i + 1] = scale * three[i]
        rest[i] -= scale * (one[i] + two[i] + three[i])
    slope1[0] = 0
    slope3[here.shape[0] - 1] = 0


@compiled(inline="always")
def _signed(value: np.floating[Any], size: np.floating[Any]) -> np.floating[Any]:
    return size if value > 0 else (-size if value < 0 else size - size)
