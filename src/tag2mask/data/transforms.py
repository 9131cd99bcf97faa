"""Random changes of training images; label maps always move with their image."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from tag2mask.core import IGNORE, UserError

# albumentations asks the network for a newer version when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2

# The loader's workers are the parallelism; OpenCV's own threads would only fight them.
cv2.setNumThreads(0)

Pad = Literal["mean", "black"]
PAD_COLOURS: dict[str, tuple[int, int, int]] = {"mean": (124, 116, 104), "black": (0, 0, 0)}
"""RGB of padding; "mean" is ImageNet's mean colour, which normalises to about zero."""

_NEAREST = cv2.INTER_NEAREST_EXACT
"""For label maps. INTER_NEAREST rounds down: labels would lie half a pixel right of and below their image."""

LABEL_NAMES = ("label", "fg_labels", "bg_labels", "inside")
"""Label maps that may move with an image; inside is 0 in the image, and so 255 in the padding of its crop."""

Image = npt.NDArray[np.uint8]
Labels = dict[str, npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class AugmentSpec:
    """Random changes of a training image, in the order in which they are made.

    Attributes:
        crop: side of the square crop in pixels; a smaller image is padded, at a random place.
        long_side: range of the image's long side before the crop: a uniform integer, both ends included.
        scale: or the image is resized by a uniform factor of this range; only one of the two.
        flip: probability of a horizontal flip.
        jitter: brightness, contrast and saturation change by factors in 1 -+ jitter; 0 turns the
            colour jitter off.
        hue: largest turn of the hue, in full turns (0..0.5).
        pad: colour of padding, mean or black.

    Raises:
        UserError: a value lies outside its range.
    """

    crop: int = 321
    long_side: tuple[int, int] | None = None
    scale: tuple[float, float] | None = None
    flip: float = 0.5
    jitter: float = 0.3
    hue: float = 0.1
    pad: Pad = "mean"

    def __post_init__(self) -> None:
        if self.crop < 1:
            raise UserError(f"augment.crop must be at least 1 pixel, got {self.crop}")
        for name, limits in (("long_side", self.long_side), ("scale", self.scale)):
            if limits is not None and not 0 < limits[0] <= limits[1]:
                raise UserError(
                    f"augment.{name} must be two positive numbers, the smaller first; got {tuple(limits)}"
                )
        if self.long_side is not None and self.scale is not None:
            raise UserError("give augment.long_side or augment.scale, not both: set one of them to null")
        for name, value, most in (("flip", self.flip, 1), ("jitter", self.jitter, 1), ("hue", self.hue, 0.5)):
            if not 0 <= value <= most:
                raise UserError(f"augment.{name} must lie in 0..{most}, got {value}")
        if self.pad not in PAD_COLOURS:
            raise UserError(f"augment.pad must be mean or black, got {self.pad!r}")


class Augment:
    """Resize, flip, colour jitter, crop; seeded from torch, so that each worker differs and runs repeat.

    Images are resized smoothly (area when shrinking, else bicubic), label maps by nearest neighbour.
    What lies outside the image becomes the padding colour, and 255 in label maps.

    Args:
        spec: what to change, and how far.
    """

    def __init__(self, spec: AugmentSpec) -> None:
        steps = [*_resize(spec), A.HorizontalFlip(p=spec.flip)]
        if spec.jitter or spec.hue:
            steps.append(A.ColorJitter(spec.jitter, spec.jitter, spec.jitter, spec.hue, p=1))
        colour = PAD_COLOURS[spec.pad]
        steps.append(
            A.RandomCrop(
                spec.crop, spec.crop, pad_if_needed=True, pad_position="random", fill=colour, fill_mask=IGNORE
            )
        )
        self._compose = A.Compose(steps, additional_targets=dict.fromkeys(LABEL_NAMES, "mask"))

    def __call__(self, image: Image, labels: Mapping[str, npt.NDArray[np.uint8]]) -> tuple[Image, Labels]:
        """Change one image and its label maps alike.

        Args:
            image: RGB (H, W, 3).
            labels: name (of `LABEL_NAMES`) -> (H, W).

        Returns:
            the crop (crop, crop, 3) and the label maps (crop, crop).

        Raises:
            ValueError: a label map has another size than the image, or an unknown name.
        """
        for name, value in labels.items():
            if name not in LABEL_NAMES or value.shape != image.shape[:2]:
                raise ValueError(f"labels[{name!r}] has shape {value.shape}, image {image.shape}")
        self._reseed()
        done: dict[str, Any] = self._compose(image=image, **labels)
        return done["image"], {name: done[name] for name in labels}

    def _reseed(self) -> None:
        """Albumentations has generators of its own; torch's is the one that Lightning seeds per worker.

        All steps share one generator: `set_random_seed` would give each the same numbers, and the
        flip would then depend on the crop.
        """
        seed = int(torch.randint(2**31 - 1, ()))
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))


def _resize(spec: AugmentSpec) -> list[Any]:
    how = {
        "interpolation": cv2.INTER_CUBIC,
        "mask_interpolation": _NEAREST,
        "area_for_downscale": "image",
        "p": 1,
    }
    if spec.long_side is not None:
        return [A.LongestMaxSize(max_size=list(range(spec.long_side[0], spec.long_side[1] + 1)), **how)]
    if spec.scale is not None:
        return [A.RandomScale(scale_limit=(spec.scale[0] - 1, spec.scale[1] - 1), **how)]
    return []


def resize_long_side(
    image: Image, labels: Mapping[str, npt.NDArray[np.uint8]], size: int
) -> tuple[Image, Labels]:
    """Resize an image (H, W, 3) and its label maps so that the long side has `size` pixels."""
    height, width = image.shape[:2]
    factor = size / max(height, width)
    to = (max(1, round(width * factor)), max(1, round(height * factor)))
    smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    out = {name: cv2.resize(value, to, interpolation=_NEAREST) for name, value in labels.items()}
    return cv2.resize(image, to, interpolation=smooth), out  # type: ignore[return-value]
