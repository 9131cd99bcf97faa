"""Pairs of neighbouring cells of a map: which there are, and how far apart their features lie.

A set of pairs is described by its offsets (half a plane, so that each pair is named once) and, for
each offset, by the rectangle of cells that may be the pair's first cell, its source. A value for
each pair is stored as a plane: (offsets, H, W), indexed by the source and 0 where there is no pair.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tag2mask.ops._pair_kernels import backward_kernel, forward_kernel
from tag2mask.ops._threads import on_threads

Border = Literal["all", "psa"]
"""``"all"``: every pair inside the map. ``"psa"``: the pairs of PSA's published code, which uses no
source in the last radius-1 rows and the outer radius-1 columns on both sides."""

Engine = Literal["auto", "numba", "torch"]
"""``"auto"``: the compiled kernel on the CPU, shifted slices elsewhere."""

_CHUNK_ROWS = 8
_LARGEST_RADIUS = 64


@lru_cache(maxsize=32)
def half_plane_offsets(radius: int) -> tuple[tuple[int, int], ...]:
    """Offsets (dy, dx) with dx^2 + dy^2 < radius^2, one of each pair of opposite ones.

    Each offset points to a later cell in row-major order.

    Args:
        radius: pairs are nearer than this many cells; a whole number from 2 to 64.

    Raises:
        ValueError: another radius: below 2 no cell has a neighbour, beyond 64 each has over 12,000.

    Example:
        >>> half_plane_offsets(2)
        ((0, 1), (1, -1), (1, 0), (1, 1))
        >>> len(half_plane_offsets(5))
        34
    """
    if not 2 <= radius <= _LARGEST_RADIUS or radius != int(radius):
        raise ValueError(f"radius must be a whole number from 2 to {_LARGEST_RADIUS}, got {radius}")
    reach = range(-radius + 1, radius)
    return tuple((dy, dx) for dy in range(radius) for dx in reach
                 if dx * dx + dy * dy < radius * radius and (dy, dx) > (0, 0))  # fmt: skip


@lru_cache(maxsize=128)
def source_windows(height: int, width: int, radius: int, border: Border) -> npt.NDArray[np.int64]:
    """For each offset, the half-open rectangle of cells that have a partner there.

    Args:
        height: rows of the map.
        width: columns of the map.
        radius: as in `half_plane_offsets`.
        border: see `Border`.

    Returns:
        read-only (offsets, 6): dy, dx, first row, end row, first column, end column. The rectangle
        is empty where no cell of a small map has a partner.

    Raises:
        ValueError: an unknown border, or a map too small for ``"psa"``.

    Example:
        >>> source_windows(56, 56, 5, "psa")[0]
        array([ 0,  1,  0, 52,  4, 52])
    """
    if border not in get_args(Border):
        raise ValueError(f"border must be one of {get_args(Border)}, got {border!r}")
    edge = radius - 1
    if border == "psa" and (height <= edge or width <= 2 * edge):
        raise ValueError(
            f"a {height} x {width} map has no pair for border='psa' with radius {radius}: it needs at "
            f"least {edge + 1} x {2 * edge + 1} cells. Use border='all', a smaller radius or a larger image"
        )
    rows = []
    for dy, dx in half_plane_offsets(radius):
        if border == "psa":
            rows.append((dy, dx, 0, height - edge, edge, width - edge))
        else:
            rows.append((dy, dx, 0, max(0, height - dy), max(0, -dx), max(0, width - max(0, dx))))
    windows = np.array(rows, np.int64)
    windows.flags.writeable = False
    return windows


@lru_cache(maxsize=16)
def pair_mask(height: int, width: int, radius: int, border: Border) -> Tensor:
    """(offsets, H, W) bool on the CPU, True at the source of each pair; shared, do not write to it.

    Example:
        >>> int(pair_mask(56, 56, 5, "psa")[0].sum())
        2496
    """
    windows = source_windows(height, width, radius, border)
    mask = torch.zeros(len(windows), height, width, dtype=torch.bool)
    for index, (_, _, top, bottom, left, right) in enumerate(windows.tolist()):
        mask[index, top:bottom, left:right] = True
    return mask


def use_kernels(engine: Engine, data: Tensor) -> bool:
    """Whether `engine` means the compiled kernels for tensors like `data`.

    Raises:
        ValueError: an unknown engine, or ``"numba"`` for data that does not lie on the CPU.
    """
    if engine not in get_args(Engine):
        raise ValueError(f"engine must be one of {get_args(Engine)}, got {engine!r}")
    on_cpu = data.device.type == "cpu"
    if engine == "numba" and not on_cpu:
        raise ValueError(f"engine='numba' runs on the CPU, got data on {data.device}")
    return on_cpu and engine != "torch"


def shifted(maps: Tensor, window: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Views of the sources and of their partners.

    Args:
        maps: (..., H, W).
        window: a row of `source_windows`.

    Returns:
        two views (..., rows, columns) of `maps`.
    """
    dy, dx, top, bottom, left, right = (int(v) for v in window)
    source = maps[..., top:bottom, left:right]
    return source, maps[..., top + dy : bottom + dy, left + dx : right + dx]


def pair_distances(
    features: Tensor,
    radius: int = 5,
    border: Border = "all",
    wanted: Tensor | None = None,
    engine: Engine = "auto",
) -> Tensor:
    """Mean absolute feature difference of each pair of neighbouring cells; differentiable.

    Args:
        features: (B, C, H, W) floating point; bfloat16 and float16 are computed as float32.
        radius: pairs are nearer than this many cells.
        border: which pairs, see `Border`.
        wanted: (B, offsets, H, W) bool; pairs outside are not computed and stay 0. Default: all.
        engine: see `Engine`.

    Returns:
        (B, offsets, H, W) planes of ``mean_c |f_i - f_j|``, 0 where there is no pair.

    Raises:
        ValueError: features that are not four-dimensional, empty or no floats; a `wanted` of another
            shape; an unknown `border` or `engine`; a map too small for ``border="psa"``.

    Example:
        >>> pair_distances(torch.tensor([[[[1.0, 3.0]]]]), radius=2)[0, 0]
        tensor([[2., 0.]])
    """
    if features.ndim != 4 or features.numel() == 0:
        raise ValueError(f"features must be (B, C, H, W) and not empty, got {tuple(features.shape)}")
    if not features.is_floating_point():
        raise ValueError(f"features must be floating point, got {features.dtype}")
    batch, _, height, width = features.shape
    windows = source_windows(height, width, radius, border)
    shape = (batch, len(windows), height, width)
    if wanted is not None and tuple(wanted.shape) != shape:
        raise ValueError(f"wanted must be {shape}, got {tuple(wanted.shape)}")
    if features.dtype != torch.float64:
        features = features.float()
    compiled = use_kernels(engine, features)
    result: Tensor = _PairDistances.apply(features, wanted, windows, compiled)
    return result


class _PairDistances(torch.autograd.Function):
    """Keeps the features alone for the backward pass: 34 shifted differences would take gigabytes."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, wanted: Tensor | None, windows: npt.NDArray[np.int64], compiled: bool
    ) -> Tensor:
        if compiled:
            # Channels last: the kernels run along the channels of two cells.
            features = features.permute(0, 2, 3, 1).contiguous()
        ctx.save_for_backward(features)
        ctx.windows, ctx.compiled = windows, compiled
        if compiled:
            return _forward_compiled(features, wanted, windows)
        return _forward_slices(features, wanted, windows)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        (features,) = ctx.saved_tensors
        if ctx.compiled:
            grad = _backward_compiled(features, grads[0], ctx.windows).permute(0, 3, 1, 2)
        else:
            grad = _backward_slices(features, grads[0], ctx.windows)
        return grad, None, None, None


def _forward_slices(features: Tensor, wanted: Tensor | None, windows: npt.NDArray[np.int64]) -> Tensor:
    batch, _, height, width = features.shape
    planes = features.new_zeros(batch, len(windows), height, width)
    for index, window in enumerate(windows):
        source, partner = shifted(features, window)
        shifted(planes[:, index], window)[0].copy_((source - partner).abs_().mean(1))
    return planes if wanted is None else planes * wanted


def _backward_slices(features: Tensor, grad: Tensor, windows: npt.NDArray[np.int64]) -> Tensor:
    total = torch.zeros_like(features)
    for index, window in enumerate(windows):
        source, partner = shifted(features, window)
        weight = shifted(grad[:, index : index + 1], window)[0] / features.shape[1]
        step = (source - partner).sign_().mul_(weight)
        to_source, to_partner = shifted(total, window)
        to_source += step
        to_partner -= step
    return total


def _forward_compiled(features: Tensor, wanted: Tensor | None, windows: npt.NDArray[np.int64]) -> Tensor:
    batch, height, width, _ = features.shape
    planes = features.new_zeros(batch, len(windows), height, width)
    mask = np.zeros((0, 0, 0, 0), np.bool_) if wanted is None else wanted.contiguous().numpy()
    x, out = features.detach().numpy(), planes.numpy()
    on_threads(lambda b, y0, y1: forward_kernel(x, mask, windows, out, b, y0, y1), _row_jobs(batch, height))
    return planes


def _backward_compiled(features: Tensor, grad: Tensor, windows: npt.NDArray[np.int64]) -> Tensor:
    batch, height = features.shape[:2]
    total = torch.empty_like(features)
    x, weights, out = features.numpy(), grad.contiguous().numpy(), total.numpy()
    on_threads(
        lambda b, y0, y1: backward_kernel(x, weights, windows, out, b, y0, y1), _row_jobs(batch, height)
    )
    return total


def _row_jobs(batch: int, height: int) -> list[tuple[int, int, int]]:
    """(image, first row, end row) of pieces that are small enough to be shared out evenly."""
    return [(b, y, min(y + _CHUNK_ROWS, height)) for b in range(batch) for y in range(0, height, _CHUNK_ROWS)]
