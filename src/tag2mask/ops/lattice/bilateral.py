"""Sums of maps over all pixels of an image, weighted by closeness in position and colour."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from tag2mask.core import map_threads
from tag2mask.ops.engine import Engine, use_kernels
from tag2mask.ops.lattice.filter import lattice_filter
from tag2mask.ops.lattice.permutohedral import build_lattice
from tag2mask.ops.lattice.torch_lattice import torch_lattice
from tag2mask.ops.layout import check_image

Method = Literal["lattice", "exact"]
"""``"lattice"``: time linear in the pixels, 0.55 to 0.65 of the exact sums. ``"exact"``: all pairs."""

_PAIRS = 1 << 22  # pairs of pixels that the exact sum holds at once: 16 MB of float32


@torch.no_grad()
def bilateral_sums(
    images: Tensor,
    maps: Tensor,
    sigma_rgb: float,
    sigma_xy: float,
    method: Method = "lattice",
    engine: Engine = "auto",
) -> Tensor:
    """Sum maps over all pixels of an image, weighted by closeness in position x and colour c.

    The result is A s for maps s, with A_ij = exp(-|x_i - x_j|^2 / (2 sigma_xy^2) - |c_i - c_j|^2 / (2
    sigma_rgb^2)). It is not normalised, and j = i is part of the sum.

    On images the lattice (Adams, Baek, Davis 2010) gives 0.55 to 0.65 of the exact sums, because its kernel
    has a lower peak. So does the C++ filter of the published dense energies, whose weights are meant for
    that scale.

    Args:
        images: (B, 3, H, W) floating point, colours in the unit of `sigma_rgb`, finite.
        maps: (B, K, H, W) floating point on the same device, for any K.
        sigma_rgb: standard deviation in colour, above 0.
        sigma_xy: standard deviation in position, pixels, above 0.
        method: see `Method`. The lattice computes in float32, "exact" in float64 if `maps` is float64.
        engine: of the lattice: ``"numba"`` (CPU; images on as many threads as torch may use),
            ``"torch"`` (any device), or ``"auto"``: numba on the CPU and torch elsewhere.

    Returns:
        (B, K, H, W) in the dtype of `maps`, without gradient.

    Raises:
        ValueError: shapes that do not fit; standard deviations that are not above 0, or so small that the
            image spans too many lattice cells; an unknown method or engine.

    Example:
        >>> images = torch.tensor([[0.0, 0.0, 255.0]]).expand(1, 3, 1, 3)
        >>> maps = torch.tensor([[[[1.0, 2.0, 4.0]]]])
        >>> bilateral_sums(images, maps, sigma_rgb=15, sigma_xy=1e6, method="exact")
        tensor([[[[3., 3., 4.]]]])
    """
    check_image(images, "images", batch=len(images))
    batch, _, height, width = images.shape
    if maps.ndim != 4 or (maps.shape[0], *maps.shape[2:]) != (batch, height, width) or maps.shape[1] == 0:
        raise ValueError(f"maps must be ({batch}, K, {height}, {width}), got {tuple(maps.shape)}")
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {get_args(Method)}, got {method!r}")
    for name, sigma in (("sigma_rgb", sigma_rgb), ("sigma_xy", sigma_xy)):
        if not sigma > 0 or not math.isfinite(sigma):
            raise ValueError(f"{name} must be above 0, got {sigma}")
    compiled = use_kernels(engine, maps)
    double = method == "exact" and maps.dtype == torch.float64
    kind = torch.float64 if double else torch.float32
    features, flat = _features(images.to(kind), sigma_rgb, sigma_xy), maps.to(kind).flatten(2)
    if method == "exact":
        sums = _exact(features, flat)
    else:
        sums = (_compiled if compiled else _in_torch)(features, flat)
    return sums.reshape(maps.shape).to(maps.dtype)


def _features(images: Tensor, sigma_rgb: float, sigma_xy: float) -> Tensor:
    """(B, 5, H * W): column, row and colours, divided by their standard deviations."""
    batch, _, height, width = images.shape
    features = images.new_empty(batch, 5, height, width)
    features[:, 0] = torch.arange(width, device=images.device).to(images) / sigma_xy
    features[:, 1] = (torch.arange(height, device=images.device).to(images) / sigma_xy)[:, None]
    torch.div(images, sigma_rgb, out=features[:, 2:])
    return features.flatten(2)


def _compiled(features: Tensor, maps: Tensor) -> Tensor:
    sums = torch.empty_like(maps, memory_format=torch.contiguous_format)
    points, values, out = features.numpy(), maps.numpy(), sums.numpy()

    def work(image: int) -> None:
        out[image] = lattice_filter(build_lattice(points[image]), values[image])

    map_threads(work, range(len(maps)), torch.get_num_threads())
    return sums


def _in_torch(features: Tensor, maps: Tensor) -> Tensor:
    batch, count, pixels = maps.shape
    rows = maps.transpose(1, 2).reshape(-1, count)
    return torch_lattice(features).filter(rows).reshape(batch, pixels, count).transpose(1, 2)


def _exact(features: Tensor, maps: Tensor) -> Tensor:
    sums = torch.empty_like(maps)
    rows = max(1, _PAIRS // maps.shape[2])
    # The difference of nearly equal points, not of their squares, which would cancel.
    mode = "donot_use_mm_for_euclid_dist"
    for image, points in enumerate(features.transpose(1, 2).contiguous()):
        for start in range(0, len(points), rows):
            distances = torch.cdist(points[start : start + rows], points, compute_mode=mode)
            weights = distances.square_().mul_(-0.5).exp_()
            sums[image, :, start : start + rows] = maps[image] @ weights.t()
    return sums
