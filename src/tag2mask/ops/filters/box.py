"""Means over square windows of any size at one cost."""

from __future__ import annotations

from abc import ABC, abstractmethod

import cv2
import torch
from torch import Tensor


class BoxMean(ABC):
    """Means over the part of a square window that lies inside the map.

    Args:
        size: (H, W) of the maps.
        window: odd side of the window in pixels.
        like: a tensor of the maps' dtype and device.
    """

    def __init__(self, size: tuple[int, int], window: int, like: Tensor) -> None:
        # A window that covers the whole map from each of its places cannot grow further.
        self.reach = min(window // 2, size[0] - 1), min(window // 2, size[1] - 1)
        self.prepare([_inside(side, reach, like) for side, reach in zip(size, self.reach, strict=True)])

    @abstractmethod
    def prepare(self, inside: list[Tensor]) -> None:
        """Keep what does not depend on the maps, from the (H,) rows and (W,) columns inside each window."""

    @abstractmethod
    def __call__(self, planes: Tensor) -> Tensor:
        """(..., H, W), contiguous and free to be overwritten -> means of that shape."""


class BoxSums(BoxMean):
    """By OpenCV's running sums; on the CPU."""

    def prepare(self, inside: list[Tensor]) -> None:
        """Keep the share of one pixel in each window."""
        rows, columns = inside
        self._share = 1 / (rows[:, None] * columns)

    def __call__(self, planes: Tensor) -> Tensor:
        """See `BoxMean`."""
        sums = torch.empty_like(planes)
        size = (2 * self.reach[1] + 1, 2 * self.reach[0] + 1)
        for source, target in zip(planes.flatten(0, -3), sums.flatten(0, -3), strict=True):
            cv2.boxFilter(
                source.numpy(), -1, size, dst=target.numpy(), normalize=False, borderType=cv2.BORDER_CONSTANT
            )
        return sums.mul_(self._share)


class BoxProducts(BoxMean):
    """By a product with a band matrix on each side: two launches on a GPU, however many planes there are.

    A product takes H + W multiplications a pixel, which a GPU's matrix units do in less time than the
    dozen launches of running sums; and nothing cancels.
    """

    def prepare(self, inside: list[Tensor]) -> None:
        """Keep the band matrices, whose rows (or columns) sum to 1."""
        bands = []
        for count, reach in zip(inside, self.reach, strict=True):
            place = torch.arange(len(count), device=count.device)
            near = (place[:, None] - place).abs() <= reach
            bands.append(near / count[:, None])
        self._rows, self._columns = bands[0], bands[1].t().contiguous()

    def __call__(self, planes: Tensor) -> Tensor:
        """See `BoxMean`."""
        stack = planes.flatten(0, -3)
        down = torch.bmm(self._rows.expand(len(stack), -1, -1), stack)
        torch.mm(down.flatten(0, 1), self._columns, out=planes.flatten(0, -2))
        return planes


def _inside(side: int, reach: int, like: Tensor) -> Tensor:
    """How many of the 2 * reach + 1 places around each of `side` places there are."""
    place = torch.arange(side, device=like.device)
    return ((place + reach).clamp(max=side - 1) - (place - reach).clamp(min=0) + 1).to(like)
