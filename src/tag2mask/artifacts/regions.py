"""Superpixels of one image on disk."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tag2mask.artifacts.files import atomic_write_bytes, reading
from tag2mask.core.errors import UserError

_MOST = 1 << 16


def save_regions(path: str | Path, regions: npt.NDArray[np.integer[Any]]) -> None:
    """Write region numbers as a gray PNG of 16 bits, atomically.

    Args:
        path: file to write, ending in ``.png``.
        regions: (H, W) integers in 0..65535.

    Raises:
        ValueError: another shape or type.
        UserError: a number does not fit into 16 bits.
    """
    if regions.ndim != 2 or not np.issubdtype(regions.dtype, np.integer) or regions.size == 0:
        raise ValueError(f"regions must be integers (H, W), got {regions.dtype} {regions.shape}")
    if regions.min() < 0 or regions.max() >= _MOST:
        raise UserError(
            f"region numbers must lie in 0..{_MOST - 1}, got {regions.min()}..{regions.max()}: "
            "ask for larger superpixels"
        )
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(regions.astype(np.uint16))).save(stream, "PNG")
    atomic_write_bytes(path, stream.getvalue())


def load_regions(path: str | Path) -> npt.NDArray[np.int32]:
    """Read the region numbers (H, W) that `save_regions` wrote.

    Raises:
        UserError: the file is missing, broken, or no gray PNG of 16 bits.
    """
    with reading(path, "superpixels"), Image.open(path) as image:
        if not image.mode.startswith("I"):
            raise ValueError(f"its mode is {image.mode}, not 16 bits of gray")
        return np.array(image, dtype=np.int32)
