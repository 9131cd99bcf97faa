"""What travels between data modules, stages and writers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor


class TrainBatch(TypedDict, total=False):
    """A batch of B crops. Only the keys that a stage trains on are there.

    Images are RGB in 0..255; normalisation belongs to the backbone.
    """

    id: list[str]
    image: Tensor  # uint8 (B, 3, H, W)
    tags: Tensor  # float32 (B, K), 1 for each class in the image
    fg_labels: Tensor  # uint8 (B, H, W): confident foreground, 0..K, 255 in padding
    bg_labels: Tensor  # uint8 (B, H, W): confident background, 0..K, 255 in padding
    label: Tensor  # int64 (B, H, W): pseudo-label (or true mask) as index 0..K or 255


class ImageSample(TypedDict, total=False):
    """One whole image for validation or prediction (the batch is a list of these)."""

    id: str
    image: Tensor  # uint8 (3, H, W), RGB
    tags: Tensor  # float32 (K,); not there for new images
    mask: Tensor  # uint8 (H, W) true mask as index 0..K or 255; only for scoring, where it exists
    maps: Tensor  # float32 (M, h, w) maps of an earlier step
    map_classes: list[int]  # (M,) index 0..K of each map
    done: bool  # the result lies on disk already: nothing to compute


class MapsResult(NamedTuple):
    """Score maps of one image, for the maps writer.

    Attributes:
        id: image id.
        maps: (M, h, w) float scores in [0, 1].
        classes: (M,) index 0..K of each map (0 is background).
        image_size: (H, W) of the image.
    """

    id: str
    maps: npt.NDArray[np.float32]
    classes: list[int]
    image_size: tuple[int, int]


class RegionsResult(NamedTuple):
    """An image cut into regions, for the writer.

    Attributes:
        id: image id.
        regions: (H, W) region numbers, 0..65535.
    """

    id: str
    regions: npt.NDArray[np.integer[Any]]


class FeaturesResult(NamedTuple):
    """Features of one image, for the writer.

    Attributes:
        id: image id.
        features: (C,) finite numbers.
    """

    id: str
    features: npt.NDArray[np.float32]


class SubLabelsResult(NamedTuple):
    """Sub-categories of one image, for the writer.

    Attributes:
        id: image id.
        clusters: index 1..K of each class in the image -> number of its sub-category, from 0 on.
    """

    id: str
    clusters: dict[int, int]


class LabelsResult(NamedTuple):
    """Label maps of one image, for the labels writer.

    Attributes:
        id: image id.
        labels: folder name below ``out/`` ("" for ``out/`` itself) -> uint8 (H, W) of indices
            0..K or 255.
        confidence: (H, W) float in [0, 1] of the main labels, or None.
    """

    id: str
    labels: dict[str, npt.NDArray[np.uint8]]
    confidence: npt.NDArray[np.float32] | None = None


Result = MapsResult | LabelsResult | RegionsResult | FeaturesResult | SubLabelsResult
"""What a step can say about an image."""
