"""Feature vectors and sub-category labels of one image on disk."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tag2mask.artifacts.files import atomic_write_bytes, atomic_write_json, reading
from tag2mask.core.classes import ClassList
from tag2mask.core.errors import NotFiniteError


def save_features(path: str | Path, features: npt.NDArray[np.float32]) -> None:
    """Write a feature vector as ``.npy``, atomically.

    Args:
        path: file to write, ending in ``.npy``.
        features: (C,) finite numbers.

    Raises:
        ValueError: another shape, or numbers that are not finite.
    """
    if features.ndim != 1:
        raise ValueError(f"features must be (C,), got {features.shape}")
    if not np.isfinite(features).all():
        raise NotFiniteError("features holds NaN or infinity")
    buffer = io.BytesIO()
    np.save(buffer, features.astype(np.float32), allow_pickle=False)
    atomic_write_bytes(path, buffer.getvalue())


def load_features(path: str | Path) -> npt.NDArray[np.float32]:
    """Read the vector (C,) that `save_features` wrote; nothing in the file is ever executed.

    Raises:
        UserError: the file is missing, broken, or holds something else.
    """
    with reading(path, "features"):
        features = np.load(path, allow_pickle=False)
        if not isinstance(features, np.ndarray) or features.ndim != 1 or features.dtype != np.float32:
            raise ValueError("it holds no vector of 32-bit floats")
    return features


def save_sub_labels(path: str | Path, clusters: Mapping[int, int], classes: ClassList) -> None:
    """Write the sub-category of each class of an image as JSON, atomically.

    Args:
        path: file to write, ending in ``.json``.
        clusters: index 1..K of a class -> number of its sub-category, from 0 on.
        classes: gives each index its mask id, which the file names.
    """
    ids = classes.all_ids
    atomic_write_json(Path(path), {str(ids[index]): int(number) for index, number in clusters.items()})


def load_sub_labels(path: str | Path, classes: ClassList) -> dict[int, int]:
    """Read what `save_sub_labels` wrote: index 1..K of a class -> number of its sub-category.

    Raises:
        UserError: the file is missing or broken, or holds something else or another class.
    """
    with reading(path, "sub-categories"):
        plain = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(plain, dict) or any(not isinstance(n, int) or n < 0 for n in plain.values()):
            raise ValueError("it holds no table of sub-categories")
        ids = [int(mask_id) for mask_id in plain]
    return dict(zip(classes.indices(ids, str(path)), plain.values(), strict=True))
