"""Class activation maps of one image, summed over scales and flips."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.core.results import MAP_CELL
from tag2mask.ops.cam.precision import Precision, autocast
from tag2mask.ops.layout import check_image
from tag2mask.ops.sizes import grid_of

LARGEST_SCALE = 16
"""Larger factors on an image's size are taken for mistakes: the network would need terabytes."""


@torch.no_grad()
def multi_scale_cam(
    model: Callable[[Tensor], Tensor],
    image: Tensor,
    scales: Sequence[float] = (0.5, 1, 1.5, 2),
    flip: bool = True,
    size: tuple[int, int] | None = None,
    precision: Precision = "auto",
) -> Tensor:
    """Sum of a model's activation maps over scaled and flipped copies of one image.

    The image is resized (bicubic, antialiased) and run through the model. The maps are cut at 0 (ReLU),
    flipped back and resized to a common grid (bilinear). PSA's code does the same on a grid as large as the
    image (Ahn and Kwak 2018). The sum is not normalised: keep the maps of the tagged classes, then call
    `normalise_cams`.

    For speed, pass a model without batch normalisation (`tag2mask.backbones.fold_batchnorm`) whose
    convolutions run in the channels_last memory format. On a GPU a flipped pair is one batch. On the CPU it
    is two: the larger maps of a batch cost more in memory than they save in calls.

    Args:
        model: maps images (B, 3, H, W), float RGB 0..255, to raw maps (B, C, h, w). Put it in eval mode
            first.
        image: (3, H, W) RGB 0..255, uint8 or float, on the model's device.
        scales: factors on the image's size, above 0 and up to 16.
        flip: also run each scale mirrored left to right.
        size: (h, w) of the result; by default one cell for each 8 pixels, rounded up.
        precision: ``"float32"``, ``"bfloat16"`` (autocast), or ``"auto"``: bfloat16 on hardware that
            multiplies it, where it is faster and changes few labels (`tag2mask bench` compares them).

    Returns:
        (C, h, w) float32, at least 0.

    Raises:
        ValueError: `image` is not (3, H, W), empty or not finite; `scales` is empty or has a factor
            outside its range; a `size` below 1 x 1; an unknown `precision`; a model that returns
            another shape.

    Example:
        >>> red = lambda images: images[:, :1, ::16, ::16]
        >>> multi_scale_cam(red, torch.full((3, 32, 48), 10), scales=(1, 2)).unique()
        tensor([40.])
    """
    check_image(image)
    if not bool(image.isfinite().all()):
        raise ValueError("image holds NaN or infinity")
    if len(scales) == 0 or any(not 0 < s <= LARGEST_SCALE for s in scales):
        raise ValueError(f"scales must be factors above 0 and up to {LARGEST_SCALE}, got {list(scales)}")
    grid = size or grid_of((image.shape[1], image.shape[2]), MAP_CELL)
    if min(grid) < 1:
        raise ValueError(f"size must be at least 1 x 1, got {grid}")
    with autocast(precision, image.device):
        total = _one_scale(model, image, scales[0], flip, grid)
        for scale in scales[1:]:
            total += _one_scale(model, image, scale, flip, grid)
    return total


def _one_scale(
    model: Callable[[Tensor], Tensor], image: Tensor, scale: float, flip: bool, grid: tuple[int, int]
) -> Tensor:
    batch = _resize(image[None], scale)
    if flip:
        batch = torch.cat([batch, batch.flip(3)])
    chunks = torch.split(batch, 1) if image.device.type == "cpu" else [batch]
    maps = torch.cat([_run(model, chunk) for chunk in chunks]).float().relu_()
    # Enlarging is linear and the same from both sides, so the pair is enlarged as one.
    total = maps[:1] + maps[1:].flip(3) if flip else maps
    return F.interpolate(total, size=grid, mode="bilinear", align_corners=False)[0]


def _run(model: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    maps = model(batch)
    if maps.ndim != 4 or len(maps) != len(batch) or maps.numel() == 0:
        raise ValueError(f"model must return ({len(batch)}, C, h, w), got {tuple(maps.shape)}")
    return maps


def _resize(batch: Tensor, scale: float) -> Tensor:
    height, width = (max(1, round(side * scale)) for side in batch.shape[2:])
    if (height, width) == tuple(batch.shape[2:]):
        return batch.float()
    if batch.dtype == torch.uint8:
        return _resize_bytes(batch, height, width)
    # Bicubic overshoots at edges; networks were trained on 0..255.
    return _bicubic(batch.float(), height, width).clamp(0, 255)


def _resize_bytes(batch: Tensor, height: int, width: int) -> Tensor:
    """Bytes as image libraries resize them; only the CPU has a kernel for it."""
    if batch.device.type == "cpu":
        return _bicubic(batch, height, width).float()
    return _in_two_passes(batch, height, width)


def _in_two_passes(batch: Tensor, height: int, width: int) -> Tensor:
    """First the rows, then the columns, each rounded and cut to 0..255.

    In one pass of floats, edges differ by up to 17 of 255 from what libraries make of them.
    """
    rows = _bicubic(batch.float(), batch.shape[2], width).round_().clamp_(0, 255)
    return _bicubic(rows, height, width).round_().clamp_(0, 255)


def _bicubic(batch: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(batch, size=(height, width), mode="bicubic", antialias=True, align_corners=False)
