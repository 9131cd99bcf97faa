"""What travels from data modules to the networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from torch import Tensor

    from tag2mask.core.results import ScoreMaps


class TrainBatch(TypedDict, total=False):
    """A batch of B crops. Only the keys that a step trains on are there.

    Images are RGB in 0..255; normalisation belongs to the backbone.
    """

    id: list[str]
    image: Tensor  # uint8 (B, 3, H, W)
    tags: Tensor  # float32 (B, K), 1 for each class in the image
    fg_labels: Tensor  # uint8 (B, H, W): confident foreground, 0..K, 255 in padding
    bg_labels: Tensor  # uint8 (B, H, W): confident background, 0..K, 255 in padding
    label: Tensor  # int64 (B, H, W): pseudo-label (or true mask) as index 0..K or 255
    inside: Tensor  # bool (B, H, W): true in the image, false in the crop's padding


class ImageSample(TypedDict, total=False):
    """One whole image for validation or prediction (the batch is a list of these)."""

    id: str
    image: Tensor  # uint8 (3, H, W), RGB
    tags: Tensor  # float32 (K,); not there for new images
    mask: Tensor  # uint8 (H, W) true mask as index 0..K or 255; only for scoring, where it exists
    maps: ScoreMaps  # maps of an earlier step
    done: bool  # the result lies on disk already: nothing to compute


def tag_indices(tags: Tensor) -> list[int]:
    """Index 1..K of each tag of an image, from its multi-hot tags (K,); 0 is background."""
    return [int(k) + 1 for k in tags.nonzero().flatten()]
