"""Score maps of one image on disk: small, exact enough, and safe to open."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tag2mask.artifacts.files import atomic_write_bytes
from tag2mask.core.errors import UserError

_KEYS = ("maps", "class_ids", "image_size")


class StoredMaps(NamedTuple):
    """What `load_maps` gives.

    Attributes:
        maps: float32 (M, h, w), one score map per class.
        class_ids: (M,) mask id of each map; 0 is background.
        image_size: (H, W) of the image that the maps belong to.
    """

    maps: npt.NDArray[np.float32]
    class_ids: list[int]
    image_size: tuple[int, int]


def save_maps(
    path: str | Path,
    maps: npt.NDArray[np.floating],
    class_ids: Sequence[int],
    image_size: tuple[int, int],
) -> None:
    """Write maps as a compressed ``.npz`` of half floats, atomically.

    Half floats carry 11 significant bits: scores in [0, 1] move by less than 0.0003.

    Args:
        path: file to write, ending in ``.npz``.
        maps: (M, h, w) scores; M may be 0 for an image without tags.
        class_ids: (M,) mask id of each map, each once, in 0..254.
        image_size: (H, W) of the image.

    Raises:
        ValueError: wrong shape, ids that do not fit the maps, or scores that are not finite.
    """
    if maps.ndim != 3:
        raise ValueError(f"maps must have shape (M, h, w), got {maps.shape}")
    ids = [int(i) for i in class_ids]
    if len(ids) != len(maps) or len(set(ids)) != len(ids) or any(not 0 <= i <= 254 for i in ids):
        raise ValueError(f"class_ids must be {len(maps)} different ids in 0..254, got {ids}")
    half = maps.astype(np.float16)
    if not np.isfinite(half).all():
        raise ValueError(f"maps must be finite and below 65504, got {maps.min()}..{maps.max()}")
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, maps=half, class_ids=np.array(ids, np.uint8), image_size=np.array(image_size, np.int32)
    )
    atomic_write_bytes(path, buffer.getvalue())


def load_maps(path: str | Path) -> StoredMaps:
    """Read maps that `save_maps` wrote; nothing in the file is ever executed.

    Raises:
        UserError: the file is missing, broken, or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            maps, ids, size = (stored[key] for key in _KEYS)
    except FileNotFoundError as error:
        raise UserError(f"no maps at {path}: run the step that makes them") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"cannot read maps from {path}: {error}; delete it and run its step again") from error
    if maps.ndim != 3 or ids.shape != maps.shape[:1] or size.shape != (2,):
        raise UserError(
            f"{path} does not hold maps (M, h, w) with one class id each; delete it and run its step again"
        )
    return StoredMaps(maps.astype(np.float32), [int(i) for i in ids], (int(size[0]), int(size[1])))
