"""Score maps of one image on disk: small, exact enough, and safe to open."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tag2mask.artifacts.files import atomic_write_bytes, reading, safe_join
from tag2mask.core.classes import ClassList
from tag2mask.core.errors import NotFiniteError
from tag2mask.core.results import ScoreMaps
from tag2mask.core.spread import spread

MAPS_SUFFIX = ".npz"
_KEYS = ("maps", "class_ids", "image_size")
EXAMPLES = 200
"""Images whose maps stand for a data set's."""
_MOST_PIXELS = 1 << 30
_OLD_SIZE = "photo_size"  # the last key in files of earlier runs


def save_maps(folder: str | Path, scores: ScoreMaps, classes: ClassList) -> None:
    """Write ``folder/<image id>.npz``: compressed half floats with the mask id of each map, atomically.

    Half floats carry 11 significant bits: scores in [0, 1] move by less than 0.0003.

    Args:
        folder: where the file goes.
        scores: the maps of one image.
        classes: gives each class index its mask id.

    Raises:
        ValueError: scores that are not finite, or an index that is none of the classes.
    """
    known = classes.all_ids
    if any(index >= len(known) for index in scores.classes):
        raise ValueError(f"class indices must lie in 0..{len(known) - 1}, got {list(scores.classes)}")
    half = scores.maps.astype(np.float16)
    if not np.isfinite(half).all():
        raise NotFiniteError(
            f"maps must be finite and below 65504, got {scores.maps.min()}..{scores.maps.max()}"
        )
    ids = np.array([known[index] for index in scores.classes], np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, maps=half, class_ids=ids, image_size=np.array(scores.image_size, np.int32))
    atomic_write_bytes(safe_join(folder, f"{scores.image_id}{MAPS_SUFFIX}"), buffer.getvalue())


def load_maps(folder: str | Path, image_id: str, classes: ClassList) -> ScoreMaps:
    """Read the float32 maps that `save_maps` wrote; nothing in the file is ever executed.

    Args:
        folder: where the file lies.
        image_id: the image.
        classes: gives each mask id its class index.

    Raises:
        UserError: the file is missing or broken, or holds something else or the map of another class.
    """
    path = safe_join(folder, f"{image_id}{MAPS_SUFFIX}")
    with reading(path, "maps"), np.load(path, allow_pickle=False) as stored:
        keys = (*_KEYS[:2], _OLD_SIZE) if _OLD_SIZE in stored else _KEYS
        maps, ids, size = (_array(stored, key) for key in keys)
        fits = (
            maps.ndim == 3 and min(maps.shape[1:]) > 0 and ids.shape == maps.shape[:1] and size.shape == (2,)
        )
        if not fits or len(np.unique(ids)) != len(ids):
            raise ValueError("it does not hold maps (M, h, w) with one class id each")
        pixels = int(size[0]) * int(size[1])
        if not np.isfinite(maps).all() or size.min() < 1 or pixels > _MOST_PIXELS:
            raise ValueError("a score is not finite, or the size is not that of an image")
    indices = classes.indices(ids.tolist(), str(path))
    return ScoreMaps(image_id, maps.astype(np.float32), indices, (int(size[0]), int(size[1])))


def example_maps(folder: str | Path, image_ids: Sequence[str], classes: ClassList) -> list[ScoreMaps]:
    """The maps of up to `EXAMPLES` images, spread evenly over a list: always the same ones of the same list.

    Args:
        folder: where the files lie.
        image_ids: all images of the data set, in its order.
        classes: as for `load_maps`.

    Raises:
        UserError: see `load_maps`.
    """
    return [load_maps(folder, image_id, classes) for image_id in spread(image_ids, EXAMPLES)]


def _array(stored: Mapping[str, npt.NDArray[Any]], key: str) -> npt.NDArray[Any]:
    """An array of a file of maps."""
    try:
        return stored[key]
    except SystemError:
        # NumPy parses the header as Python, which 3.11 may fail to do in several threads at once (gh-106905).
        return stored[key]
