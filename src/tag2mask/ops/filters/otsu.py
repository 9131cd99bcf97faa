"""Otsu's threshold between the low and the high values of a map."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from tag2mask.core import NotFiniteError
from tag2mask.ops.layout import Array, as_array

_BINS = 256
_MOST_INTEGERS = 1 << 20


def otsu_threshold(map: Tensor | Array) -> float:
    """The threshold that best separates the values of a map into two groups.

    Otsu, "A Threshold Selection Method from Gray-Level Histograms", IEEE Transactions on Systems, Man, and
    Cybernetics, 1979. The candidates are the centres of 256 bins between minimum and maximum; for integers
    all whole numbers there. The first one wins that maximises n_0 n_1 (m_0 - m_1)^2, with the sizes n and the
    means m of both groups. Computed by scikit-image; here flat maps and extreme numbers get a defined answer.

    Args:
        map: of any shape, tensor or array, floating point or integers; half precision is computed as
            float32.

    Returns:
        the threshold, at least the minimum and below the maximum: values above it are foreground. Of a flat
        map its largest value, which no pixel exceeds; a map is also flat where its values differ by
        rounding only.

    Raises:
        ValueError: an empty map, NaN or infinity, booleans or complex numbers, or values too far apart to
            be counted.

    Example:
        >>> round(otsu_threshold(np.array([[0.0, 0.1, 0.9, 1.0]])), 3)
        0.1
        >>> otsu_threshold(np.full((2, 2), 0.5))
        0.5
    """
    values = _values(map)
    lowest, highest = values.min(), values.max()
    flat = (_flat_integers if values.dtype.kind in "iu" else _flat_floats)(lowest, highest)
    return float(highest) if flat else _of_library(values)


def _of_library(values: Array) -> float:
    # Imported here: it takes as long as half of the other imports of a step, and few steps need it.
    from skimage.filters import threshold_otsu

    return float(threshold_otsu(values, _BINS))  # type: ignore[no-untyped-call]


def _values(map: Tensor | Array) -> Array:
    array = as_array("map", map)
    if array.size == 0 or array.dtype.kind not in "iuf":
        raise ValueError(f"map must hold real numbers and not be empty, got {array.dtype} {array.shape}")
    values = array.astype(np.float32) if array.dtype == np.float16 else array
    if not np.isfinite(values).all():
        raise NotFiniteError("map holds NaN or infinity")
    return values.ravel()


def _flat_integers(lowest: Any, highest: Any) -> bool:
    span = int(highest) - int(lowest)
    if span >= _MOST_INTEGERS:
        raise ValueError(f"map spans {span} whole numbers; convert it to floating point")
    return span == 0


def _flat_floats(lowest: Any, highest: Any) -> bool:
    """Whether no 256 numbers fit between minimum and maximum, so that what differs is rounding."""
    with np.errstate(over="ignore"):
        span = highest - lowest
    if not np.isfinite(span):
        raise ValueError(f"map spans {lowest} to {highest}, more than {lowest.dtype} can tell apart")
    edges = np.linspace(lowest, highest, _BINS + 1, dtype=lowest.dtype)
    return not bool((edges[1:] > edges[:-1]).all())
