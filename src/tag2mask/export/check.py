"""Exported files beside the checkpoint that they were made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from tag2mask.artifacts.names import SINGLE_SCALE
from tag2mask.core import UserError
from tag2mask.export.onnx_file import Outputs
from tag2mask.modules import SegmentationModel

CHECKED_SIZES = ((240, 320), (333, 211), (97, 150))
"""(H, W) of the images that are compared: even and odd sides, upright and lying."""
MOST_ERROR = 1e-4
"""Largest difference of a probability."""
LEAST_EQUAL = 0.999
"""Share of the pixels that must have the same label."""


@dataclass(frozen=True)
class Agreement:
    """How one file agrees with its checkpoint on one image.

    Attributes:
        size: (H, W) of the image.
        error: largest difference of a probability.
        equal: share of pixels with the same label, in [0, 1].
    """

    size: tuple[int, int]
    error: float
    equal: float


def compare(
    model: SegmentationModel, run: Callable[[npt.NDArray[np.uint8]], Outputs], name: str
) -> list[Agreement]:
    """Compare a file with the checkpoint's network on made-up images of three sizes.

    Args:
        model: the network of the checkpoint; its own way of predicting is the standard.
        run: the file's outputs of an image (1, 3, H, W).
        name: of the file, for the message.

    Raises:
        UserError: they differ by more than `MOST_ERROR`, or in more labels than `LEAST_EQUAL` allows.
    """
    model.variants = (SINGLE_SCALE,)
    found = []
    for size in CHECKED_SIZES:
        image = _picture(size)
        with torch.inference_mode():
            expected = model.scores(image)[SINGLE_SCALE]
        scores, labels = run(image[None].numpy())
        error = float(np.abs(scores[0] - expected.numpy()).max())
        equal = float((labels[0] == expected.argmax(0).numpy()).mean())
        if not error <= MOST_ERROR or equal < LEAST_EQUAL:
            raise UserError(
                f"{name} differs from the checkpoint on an image of {size[0]} x {size[1]} pixels: scores by "
                f"{error:.1e} (at most {MOST_ERROR:.0e}), labels equal on {100 * equal:.2f} % of the pixels "
                f"(at least {100 * LEAST_EQUAL:.1f} %). It was not written: leave this format out with "
                "--format, and please report it"
            )
        found.append(Agreement(size, error, equal))
    return found


def _picture(size: tuple[int, int]) -> torch.Tensor:
    """Smooth patches of colour with some noise, uint8 (3, H, W); the same in every call."""
    generator = torch.Generator().manual_seed(sum(size))
    patches = 255 * torch.rand(1, 3, 7, 9, generator=generator)
    smooth = F.interpolate(patches, size, mode="bicubic", align_corners=False)[0]
    noise = 12 * torch.randn(3, *size, generator=generator)
    return (smooth + noise).round().clamp(0, 255).to(torch.uint8)
