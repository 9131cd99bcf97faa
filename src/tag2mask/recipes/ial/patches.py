"""Square patches of an image, turned and scaled a little, with everything that lies on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.core import IGNORE, UserError

NO_REGION = -1
"""Superpixel number of pixels outside the image."""

_TRIES = 10


@dataclass(frozen=True)
class PatchSampler:
    """Random patches as SPN is trained on: anywhere in the image, scaled, turned and mirrored.

    Liu et al., NeurIPS 2017, with the settings of its published code.

    Attributes:
        count: patches of each image.
        size: side of a patch in pixels.
        scale: patches show the image enlarged by a factor in 1 -+ scale.
        rotation: largest turn in degrees, either way.
        flip: probability of mirroring.

    Raises:
        UserError: a value lies outside its range.
    """

    count: int = 10
    size: int = 128
    scale: float = 0.1
    rotation: float = 15.0
    flip: float = 0.5

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"patches.count must be at least 1, got {self.count}")
        if self.size < 16 or not 0 <= self.scale < 1 or not 0 <= self.flip <= 1:
            raise UserError(
                "patches.size must be 16 or more, patches.scale and patches.flip lie in 0..1, got "
                f"{self.size}, {self.scale} and {self.flip}"
            )

    def transform(self, height: int, width: int) -> Tensor:
        """A random affine map (2, 3) from a patch to an image, both in -1..1 (see `affine_grid`)."""
        draw = torch.rand(5).tolist()
        angle = math.radians(self.rotation) * (2 * draw[0] - 1)
        factor = 1 + self.scale * (2 * draw[1] - 1)
        mirror = -1.0 if draw[2] < self.flip else 1.0
        x, y = (_centre(side, self.size, place) for side, place in ((width, draw[3]), (height, draw[4])))
        across, down = self.size / (factor * width), self.size / (factor * height)
        cos, sin = math.cos(angle), math.sin(angle)
        rows = [[across * cos * mirror, -across * sin, x], [down * sin * mirror, down * cos, y]]
        return torch.tensor(rows)

    def grid(self, labels: Tensor) -> Tensor:
        """The grid (1, S, S, 2) of a patch with at least two known classes, if a few tries find one.

        Args:
            labels: (H, W) labels of the image, 255 where unknown.
        """
        height, width = labels.shape
        several = _known_classes(labels) > 1
        for _ in range(_TRIES):
            theta = self.transform(height, width)[None]
            grid = F.affine_grid(theta, [1, 1, self.size, self.size], align_corners=False)
            if not several or _known_classes(nearest(labels, grid, IGNORE)) > 1:
                break
        return grid


def smooth(maps: Tensor, grid: Tensor) -> Tensor:
    """Maps (C, h, w) of any size at a grid, bilinear; outside, the border goes on. (C, S, S) float32."""
    return F.grid_sample(maps[None].float(), grid, padding_mode="border", align_corners=False)[0]


def nearest(labels: Tensor, grid: Tensor, outside: int) -> Tensor:
    """Integers (H, W) at a grid: the nearest pixel, `outside` beyond the image. (S, S) int64."""
    values = F.grid_sample(labels[None, None].float(), grid, mode="nearest", align_corners=False)[0, 0]
    beyond = (grid[0].abs() > 1).any(-1)
    return values.long().masked_fill(beyond, outside)


def _known_classes(labels: Tensor) -> int:
    return int((torch.bincount(labels.flatten(), minlength=IGNORE)[:IGNORE] > 0).sum())


def _centre(side: int, size: int, place: float) -> float:
    """A centre in -1..1 that keeps an unturned patch inside the image where it fits."""
    room = max(0.0, 1 - size / side)
    return room * (2 * place - 1)
