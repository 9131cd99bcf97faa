"""Sizes of images and maps, cells that cover them, and maps at another size."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F


def image_size(pixels: Tensor) -> tuple[int, int]:
    """(H, W) of an image or of maps (..., H, W)."""
    return int(pixels.shape[-2]), int(pixels.shape[-1])


def cells(side: int, stride: int) -> int:
    """Cells of `stride` pixels that cover a side, ceil(side / stride).

    Of positive numbers only: ONNX divides integers towards 0, so that ``-(-side // stride)`` would be another
    number in an exported network.
    """
    return (side + stride - 1) // stride


def grid_of(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Rows and columns of the cells of `stride` pixels that cover an image of a size (H, W)."""
    return cells(size[0], stride), cells(size[1], stride)


def scaled_side(side: int, numerator: int, denominator: int) -> int:
    """``max(1, round(side * numerator / denominator))``, halves to even as Python rounds.

    In integers only, because exported programs have no rounding of numbers that depend on the image's size.
    """
    doubled = 2 * side * numerator + denominator
    rounded, is_half = doubled // (2 * denominator), torch.sym_max(1 - doubled % (2 * denominator), 0)
    return cast(int, torch.sym_max(rounded - is_half * (rounded % 2), 1))


def at_size(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, C, h, w) at a size (H, W), by bilinear interpolation; those that have it are not copied."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def maps_at_size(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """`at_size` of the maps (M, h, w) of one image; M may be 0, which torch itself refuses."""
    return at_size(maps[None], size)[0] if len(maps) else maps.new_zeros(0, *size)
