"""Very large images are worked on at a smaller size; their results have the size of the image."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.core import ImageSample, LabelsResult, RegionsResult, ScoreMaps


def shrunk(sample: ImageSample, largest: int) -> ImageSample:
    """The sample with its image shrunk to at most `largest` pixels; a smaller sample comes back as it is.

    Args:
        sample: with an image (3, H, W); what else has the size (H, W) is shrunk, too, labels and regions by
            nearest neighbour.
        largest: pixels that the image may have.
    """
    if "image" not in sample:
        return sample
    height, width = sample["image"].shape[-2:]
    if height * width <= largest:
        return sample
    factor = math.sqrt(largest / (height * width))
    size = (max(1, int(height * factor)), max(1, int(width * factor)))
    small: dict[str, Any] = dict(sample)
    for name, value in sample.items():
        if isinstance(value, Tensor) and value.ndim >= 2 and value.shape[-2:] == (height, width):
            small[name] = _resize(value, size, smooth=name == "image")
        elif isinstance(value, ScoreMaps):
            small[name] = replace(value, image_size=size)
    return cast(ImageSample, small)


def enlarged(result: Any, size: tuple[int, int]) -> Any:
    """A result of a shrunk image at the size (H, W) that the image has, by nearest neighbour.

    Results that have no pixels, such as features, stay as they are; score maps only note the size.
    """
    if isinstance(result, ScoreMaps):
        return replace(result, image_size=size)
    if isinstance(result, LabelsResult):
        labels = {name: _enlarge(value, size) for name, value in result.labels.items()}
        confidence = None if result.confidence is None else _enlarge(result.confidence, size)
        return LabelsResult(result.image_id, labels, confidence)
    if isinstance(result, RegionsResult):
        return RegionsResult(result.image_id, _enlarge(result.regions, size))
    return result


def _resize(value: Tensor, size: tuple[int, int], smooth: bool) -> Tensor:
    if smooth:
        small = F.interpolate(
            value[None].float(), size, mode="bilinear", antialias=True, align_corners=False
        )[0]
        return small if value.is_floating_point() else small.round().clamp(0, 255).to(value.dtype)
    rows, columns = (_nearest(n, m) for n, m in zip(value.shape[-2:], size, strict=True))
    return value[..., torch.from_numpy(rows)[:, None], torch.from_numpy(columns)]


def _enlarge(value: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    rows, columns = (_nearest(n, m) for n, m in zip(value.shape, size, strict=True))
    return value[rows[:, None], columns]


def _nearest(have: int, want: int) -> npt.NDArray[np.int64]:
    """Index of the old cell under the middle of each new one."""
    return ((np.arange(want) + 0.5) * have / want).astype(np.int64)
