"""Random changes of training images; label maps always move with their image."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
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

LABEL_NAMES = ("label", "fg_labels", "bg_labels")
"""Label maps that may move with an image."""

Image = npt.NDArray[np.uint8]
Labels = dict[str, npt.NDArray[np.uint8]]


class Augment:
    """Resize, flip, colour jitter, crop; seeded from torch, so that each worker differs and runs repeat.

    Images are resized smoothly (area when shrinking, else bicubic), label maps by nearest neighbour.
    What lies outside the image becomes the padding colour, and 255 in label maps.

    Args:
        crop: side of the square crop in pixels; a smaller image is padded, at a random place.
        long_side: the image's long side is resized to a uniform integer of this range (both ends).
        scale: or the image is resized by a uniform factor of this range; not both.
        flip: probability of a horizontal flip.
        jitter: brightness, contrast and saturation change by factors in 1 -+ jitter; 0 turns the
            colour jitter off.
        hue: largest turn of the hue, in full turns (0..0.5).
        pad: colour of padding.
    """

    def __init__(
        self,
        crop: int,
        long_side: tuple[int, int] | None = None,
        scale: tuple[float, float] | None = None,
        flip: float = 0.5,
        jitter: float = 0.3,
        hue: float = 0.1,
        pad: Pad = "mean",
    ) -> None:
        if pad not in PAD_COLOURS:
            raise UserError(f"pad must be mean or black, got {pad!r}")
        steps = [*_resize(long_side, scale), A.HorizontalFlip(p=flip)]
        if jitter or hue:
            steps.append(A.ColorJitter(jitter, jitter, jitter, hue, p=1))
        steps.append(
            A.RandomCrop(
                crop, crop, pad_if_needed=True, pad_position="random", fill=PAD_COLOURS[pad], fill_mask=IGNORE
            )
        )
        self._compose = A.Compose(steps, additional_targets=dict.fromkeys(LABEL_NAMES, "mask"))

    def __call__(self, image: Image, labels: Mapping[str, npt.NDArray[np.uint8]]) -> tuple[Image, Labels]:
        """Changes one image and its label maps alike.

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


def _resize(long_side: tuple[int, int] | None, scale: tuple[float, float] | None) -> list[Any]:
    how = {
        "interpolation": cv2.INTER_CUBIC,
        "mask_interpolation": _NEAREST,
        "area_for_downscale": "image",
        "p": 1,
    }
    for name, limits in (("long_side", long_side), ("scale", scale)):
        if limits is not None and not 0 < limits[0] <= limits[1]:
            raise UserError(f"{name} must be two positive numbers, the smaller first; got {tuple(limits)}")
    if long_side is not None and scale is not None:
        raise UserError("give long_side or scale, not both: set one of them to null")
    if long_side is not None:
        return [A.LongestMaxSize(max_size=list(range(long_side[0], long_side[1] + 1)), **how)]
    if scale is not None:
        return [A.RandomScale(scale_limit=(scale[0] - 1, scale[1] - 1), **how)]
    return []


def resize_long_side(
    image: Image, labels: Mapping[str, npt.NDArray[np.uint8]], size: int
) -> tuple[Image, Labels]:
    """Resizes an image (H, W, 3) and its label maps so that the long side has `size` pixels."""
    height, width = image.shape[:2]
    factor = size / max(height, width)
    to = (max(1, round(width * factor)), max(1, round(height * factor)))
    smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    out = {name: cv2.resize(value, to, interpolation=_NEAREST) for name, value in labels.items()}
    return cv2.resize(image, to, interpolation=smooth), out  # type: ignore[return-value]
