"""Means over square windows of any size at one cost."""

from __future__ import annotations

import cv2
import torch
from torch import Tensor
from torch.nn import functional as F


class BoxMean:
    """Means over the part of a square window that lies inside the map.

    Args:
        size: (H, W) of the maps.
        window: odd side of the window in pixels.
        like: a tensor of the maps' dtype and device.
    """

    def __init__(self, size: tuple[int, int], window: int, like: Tensor) -> None:
        # A window that covers the whole map from each of its places cannot grow further.
        self.reach = min(window // 2, size[0] - 1), min(window // 2, size[1] - 1)
        rows, columns = (_inside(side, reach, like) for side, reach in zip(size, self.reach, strict=True))
        self.share = 1 / (rows[:, None] * columns)

    def __call__(self, planes: Tensor) -> Tensor:
        """(N, H, W) -> (N, H, W)."""
        sums = box_opencv if planes.device.type == "cpu" else box_cumsum
        return sums(planes, self.reach).mul_(self.share)


def _inside(side: int, reach: int, like: Tensor) -> Tensor:
    """How many of the 2 * reach + 1 places around each of `side` places there are."""
    place = torch.arange(side, device=like.device)
    return ((place + reach).clamp(max=side - 1) - (place - reach).clamp(min=0) + 1).to(like)


def box_opencv(planes: Tensor, reach: tuple[int, int]) -> Tensor:
    """Sums of (N, H, W) over windows that reach that many rows and columns to each side; CPU."""
    planes = planes.contiguous()
    sums = torch.empty_like(planes)
    size = (2 * reach[1] + 1, 2 * reach[0] + 1)
    for source, target in zip(planes.numpy(), sums.numpy(), strict=True):
        cv2.boxFilter(source, -1, size, dst=target, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return sums


def box_cumsum(planes: Tensor, reach: tuple[int, int]) -> Tensor:
    """`box_opencv` on any device: differences of running sums, one axis after the other."""
    for dim, r in zip((1, 2), reach, strict=True):
        side = planes.shape[dim]
        place = torch.arange(side, device=planes.device)
        running = F.pad(planes.cumsum(dim), (1, 0) if dim == 2 else (0, 0, 1, 0))
        upper, lower = (place + r + 1).clamp(max=side), (place - r).clamp(min=0)
        planes = running.index_select(dim, upper) - running.index_select(dim, lower)
    return planes
