"""Compiled sums over all pairs of cells of an image; see `tag2mask.losses.colour_affinity`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tag2mask.ops.compiled import compiled
from tag2mask.ops.lattice.lanes import WIDTH, exp, load, store

Floats = npt.NDArray[np.float32]

ROWS, RAW, LITERAL = 0, 1, 2

# Only the order of sums is free: NaN, infinity and signs keep their meaning.
_ORDER_FREE = {"reassoc"}


@compiled(fastmath=_ORDER_FREE)
def _distances(cells: Floats, p: int, out: Floats) -> None:
    """Euclidean distances of cell p to all cells; `cells` is (k, N)."""
    count = cells.shape[1]
    for q in range(count):
        step = cells[0, q] - cells[0, p]
        out[q] = step * step
    for c in range(1, cells.shape[0]):
        for q in range(count):
            step = cells[c, q] - cells[c, p]
            out[q] += step * step
    for q in range(count):
        out[q] = np.sqrt(out[q])


@compiled()
def largest_distance(cells: Floats) -> np.float32:
    """The largest distance between two cells of (k, N)."""
    out = np.empty(cells.shape[1], np.float32)
    largest = np.float32(0)
    for p in range(cells.shape[1]):
        _distances(cells, p, out)
        largest = max(largest, out.max())
    return largest


@compiled()
def _exponentials(distances: Floats, out: Floats) -> None:
    """exp(-distance); the buffers are longer than what counts, up to whole vectors."""
    for q in range(out.size):
        out[q] = -distances[q]
    for start in range(0, out.size, WIDTH):
        store(out, start, exp(load(out, start)))


@compiled(fastmath=_ORDER_FREE)
def _compare(
    weights: Floats, similar: Floats, count: int, a: np.float32, b: np.float32, slope: Floats
) -> tuple[float, float]:
    """Sum of |a w - b m|; `slope` becomes sign * a w, and its sum comes second."""
    total, drift = 0.0, 0.0
    for q in range(count):
        share = weights[q] * a
        gap = share - similar[q] * b
        total += abs(gap)
        slope[q] = share if gap > 0 else (-share if gap < 0 else np.float32(0))
        drift += slope[q]
    return total, drift


@compiled(fastmath=_ORDER_FREE)
def _spread(cells: Floats, p: int, pull: Floats, grad: Floats) -> None:
    """Gradient by both ends of the pairs of cell p; `pull` is d loss / d distance / distance."""
    for c in range(cells.shape[0]):
        own = np.float32(0)
        for q in range(cells.shape[1]):
            part = pull[q] * (cells[c, p] - cells[c, q])
            grad[c, q] -= part
            own += part
        grad[c, p] += own


@compiled(fastmath=_ORDER_FREE, error_model="numpy")
def pair_loss(cells: Floats, colours: Floats, largest: np.float32, reading: int, grad: Floats) -> float:
    """Loss of one image before the division by its number of rows or pairs, and its gradient.

    Args:
        cells: (k, N) features.
        colours: (3, N).
        largest: what colour distances are divided by, above 0.
        reading: ROWS, RAW or LITERAL.
        grad: (k, N) zeros to add the gradient to, or empty for none.
    """
    count = cells.shape[1]
    padded = -(-count // WIDTH) * WIDTH
    distances, weights = np.zeros(padded, np.float32), np.empty(padded, np.float32)
    similar, slope = np.empty(count, np.float32), np.empty(count, np.float32)
    loss, one = 0.0, np.float32(1)
    for p in range(count):
        _distances(cells, p, distances)
        _exponentials(distances, weights)
        _distances(colours, p, similar)
        held, alike, reach = np.float32(0), np.float32(0), np.float32(0)
        for q in range(count):
            similar[q] = one - similar[q] / largest
            held += weights[q]
            alike += similar[q]
            reach += distances[q]
        a = one if reading == RAW else one / held
        b = one / alike if reading == ROWS else one
        value, drift = _compare(weights, similar, count, a, b, slope)
        # Vector exponentials take NaN for 0; the distances keep it.
        loss += value + 0.0 * float(reach)
        if grad.size:
            mean = np.float32(0) if reading == RAW else np.float32(drift)
            for q in range(count):
                far = distances[q]
                slope[q] = -(slope[q] - weights[q] * a * mean) / far if far > 0 else np.float32(0)
            _spread(cells, p, slope, grad)
    return loss
