"""What a step can say about one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tag2mask.core.errors import UserError

MAP_CELL = 8
"""Pixels a side of a cell of stored maps, unless a step is set to another number."""


def require_cell(grid: int) -> None:
    """Raise `UserError` unless a setting ``grid``, the pixels a side of a cell, is a size."""
    if grid < 1:
        raise UserError(f"grid must be at least 1 pixel, got {grid}")


@dataclass(frozen=True, eq=False)
class ScoreMaps:
    """Score maps of some classes for one image, from the operator that makes them to the file and back.

    Attributes:
        image_id: image id.
        maps: (M, h, w) finite float scores, mostly in [0, 1], in main memory; M may be 0.
        classes: (M,) index 0..K of each map, each once; 0 is background.
        image_size: (H, W) of the image, in pixels.

    Raises:
        TypeError: maps of another library.
        ValueError: another shape, or classes that do not fit the maps.
    """

    image_id: str
    maps: npt.NDArray[np.floating]
    classes: Sequence[int]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        if not isinstance(self.maps, np.ndarray):
            raise TypeError(f"maps must be a NumPy array, got {type(self.maps)}: use tensor.cpu().numpy()")
        if self.maps.ndim != 3:
            raise ValueError(f"maps must have shape (M, h, w), got {tuple(self.maps.shape)}")
        chosen = tuple(int(k) for k in self.classes)
        if len(chosen) != len(self.maps) or len(set(chosen)) != len(chosen) or min(chosen, default=0) < 0:
            raise ValueError(f"classes must be {len(self.maps)} different indices, got {list(chosen)}")
        height, width = self.image_size
        object.__setattr__(self, "classes", chosen)
        object.__setattr__(self, "image_size", (int(height), int(width)))

    def dense(self, count: int) -> npt.NDArray[np.float32]:
        """Maps (count, h, w) of the indices 0..count-1, with 0 where a class has no map."""
        full = np.zeros((count, *self.maps.shape[1:]), np.float32)
        full[list(self.classes)] = self.maps
        return full

    def to(self, *args: Any, **kwargs: Any) -> ScoreMaps:
        """The same object: Lightning moves batches with this call, and maps stay in main memory."""
        return self


def cut_maps(
    maps: npt.NDArray[np.floating], classes: Sequence[int], threshold: float
) -> npt.NDArray[np.uint8]:
    """The class index of the highest map (h, w); without a background map, 0 up to the threshold.

    Args:
        maps: (M, h, w) scores; M may be 0, then all is background.
        classes: (M,) index 0..K of each map.
        threshold: see above.
    """
    if not len(maps):
        return np.zeros(maps.shape[1:], np.uint8)
    winners: npt.NDArray[np.uint8] = np.asarray(classes, np.uint8)[maps.argmax(0)]
    if 0 not in classes:
        winners[maps.max(0) <= threshold] = 0
    return winners


class RegionsResult(NamedTuple):
    """An image cut into regions.

    Attributes:
        image_id: image id.
        regions: (H, W) region numbers, 0..65535.
    """

    image_id: str
    regions: npt.NDArray[np.integer[Any]]


class FeaturesResult(NamedTuple):
    """Features of one image.

    Attributes:
        image_id: image id.
        features: (C,) finite numbers.
    """

    image_id: str
    features: npt.NDArray[np.float32]


class SubLabelsResult(NamedTuple):
    """Sub-categories of one image.

    Attributes:
        image_id: image id.
        clusters: index 1..K of each class in the image -> number of its sub-category, from 0 on.
    """

    image_id: str
    clusters: dict[int, int]


class LabelsResult(NamedTuple):
    """Label maps of one image.

    Attributes:
        image_id: image id.
        labels: folder name below ``out/`` ("" for ``out/`` itself) -> uint8 (H, W) of indices
            0..K or 255.
        confidence: (H, W) float in [0, 1] of the main labels, or None.
    """

    image_id: str
    labels: dict[str, npt.NDArray[np.uint8]]
    confidence: npt.NDArray[np.float32] | None = None
