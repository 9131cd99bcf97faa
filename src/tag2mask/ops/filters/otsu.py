"""Otsu's threshold between the low and the high values of a map."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_BINS = 256
_MOST_INTEGERS = 1 << 20


def otsu_threshold(map: Tensor | npt.NDArray[Any]) -> float:
    """The threshold that best separates the values of a map into two groups.

    Of the centres of 256 bins between minimum and maximum (for integers: of all whole numbers there),
    the first that maximises n_0 n_1 (m_0 - m_1)^2 with the sizes n and the means m of both groups
    (Otsu, "A Threshold Selection Method from Gray-Level Histograms", IEEE Transactions on Systems,
    Man, and Cybernetics, 1979). Agrees with `threshold_otsu` of scikit-image.

    Args:
        map: of any shape, tensor or array, floating point or integers; half precision is computed as
            float32.

    Returns:
        the threshold, at least the minimum and below the maximum: what lies above it is foreground.
        Of a flat map its value, which no pixel exceeds.

    Raises:
        ValueError: nothing in `map`, NaN or infinity, booleans or complex numbers, numbers too far
            apart to be counted.

    Example:
        >>> round(otsu_threshold(np.array([[0.0, 0.1, 0.9, 1.0]])), 3)
        0.1
        >>> otsu_threshold(np.full((2, 2), 0.5))
        0.5
    """
    values = _values(map)
    lowest, highest = values.min(), values.max()
    counts, centres = (_of_integers if values.dtype.kind in "iu" else _of_floats)(values, lowest, highest)
    if counts.size < 2:
        return float(highest)
    return float(centres[np.argmax(_separation(counts, centres))])


def _values(map: Tensor | npt.NDArray[Any]) -> npt.NDArray[Any]:
    if isinstance(map, Tensor):
        map = map.detach().cpu()
        map = (map.float() if map.dtype == torch.bfloat16 else map).numpy()
    if map.size == 0 or map.dtype.kind not in "iuf":
        raise ValueError(f"map must hold real numbers and not be empty, got {map.dtype} {map.shape}")
    values: npt.NDArray[Any] = map.astype(np.float32) if map.dtype == np.float16 else map
    if not np.isfinite(values).all():
        raise ValueError("map holds NaN or infinity")
    return values.ravel()


def _of_integers(values: npt.NDArray[Any], lowest: Any, highest: Any) -> tuple[npt.NDArray[Any], ...]:
    span = int(highest) - int(lowest)
    if span >= _MOST_INTEGERS:
        raise ValueError(f"map spans {span} whole numbers; convert it to floating point")
    wide = values.astype(np.int64) if values.dtype.kind == "i" else values
    return np.bincount((wide - lowest).astype(np.int64)), int(lowest) + np.arange(span + 1)


def _of_floats(values: npt.NDArray[Any], lowest: Any, highest: Any) -> tuple[npt.NDArray[Any], ...]:
    with np.errstate(over="ignore"):
        span = highest - lowest
    if not np.isfinite(span):
        raise ValueError(f"map spans {lowest} to {highest}, more than {values.dtype} can tell apart")
    edges = np.linspace(lowest, highest, _BINS + 1, dtype=values.dtype)
    if not (edges[1:] > edges[:-1]).all():
        # No 256 numbers fit between minimum and maximum: what differs is rounding, the map is flat.
        return np.array([values.size]), edges[:1]
    counts, _ = np.histogram(values, _BINS, (lowest, highest))
    return counts, (edges[1:] + edges[:-1]) / 2


def _separation(counts: npt.NDArray[Any], centres: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Variance between the groups up to and above each centre but the last."""
    # float32 as in scikit-image, so that near ties fall to the same bin.
    sizes = counts.astype(np.float32)
    below, above = np.cumsum(sizes), np.cumsum(sizes[::-1])[::-1]
    mean_below = np.cumsum(sizes * centres) / below
    mean_above = np.cumsum((sizes * centres)[::-1])[::-1] / above
    separation: npt.NDArray[Any] = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return separation
