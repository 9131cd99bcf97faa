"""Maps at another size."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def at_size(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, C, h, w) at a size (H, W), by bilinear interpolation; those that have it are not copied."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)
