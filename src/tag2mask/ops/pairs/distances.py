"""How far apart the features of neighbouring cells lie, for each pair of a map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.core import map_threads
from tag2mask.ops.engine import Engine, use_kernels
from tag2mask.ops.layout import Array
from tag2mask.ops.pairs.kernels import backward_kernel, forward_kernel
from tag2mask.ops.pairs.neighbours import Border, pair_mask, shifted, source_windows

_CHUNK_ROWS = 8
_BUFFER_BYTES = 48 * 2**20
"""Of the differences of several offsets at once, in tensor operations."""


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
        radius: cells nearer to each other than this form a pair.
        border: which pairs, see `Border`.
        wanted: (B, offsets, H, W) bool; pairs where it is False are not computed and stay 0. Default: all.
        engine: see `Engine`.

    Returns:
        (B, offsets, H, W) planes of ``mean_c |f_i - f_j|``, 0 where there is no pair.

    Raises:
        ValueError: features that are not (B, C, H, W), empty or not floating point; a `wanted` of another
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
    if compiled:
        # The kernels take an empty mask for all pairs.
        chosen = torch.zeros(batch, 0, 0, 0, dtype=torch.bool) if wanted is None else wanted
    else:
        there = pair_mask(height, width, radius, border).to(features.device)
        chosen = there if wanted is None else wanted & there
    result: Tensor = _PairDistances.apply(features, chosen, windows, compiled)
    return result


class _PairDistances(torch.autograd.Function):
    """Keeps the features alone for the backward pass: 34 shifted differences would take gigabytes."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, wanted: Tensor, windows: npt.NDArray[np.int64], compiled: bool
    ) -> Tensor:
        if compiled:
            # Channels last: the kernels run along the channels of two cells.
            features = features.permute(0, 2, 3, 1).contiguous()
        ctx.save_for_backward(features)
        ctx.windows, ctx.compiled = windows, compiled
        if compiled:
            return _forward_compiled(features, wanted, windows)
        return _forward_rows(features, wanted, windows)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        (features,) = ctx.saved_tensors
        if ctx.compiled:
            grad = _backward_compiled(features, grads[0], ctx.windows).permute(0, 3, 1, 2)
        else:
            grad = _backward_slices(features, grads[0], ctx.windows)
        return grad, None, None, None


def _forward_rows(features: Tensor, wanted: Tensor, windows: npt.NDArray[np.int64]) -> Tensor:
    """Several offsets at once, as many as the buffer holds: a small map costs a GPU its launches alone."""
    batch, _, height, width = features.shape
    planes = features.new_zeros(batch, len(windows), height, width)
    reach = int(windows[:, 1].max())
    padded = F.pad(features, (reach, reach, 0, int(windows[:, 0].max())))
    most = max(1, _BUFFER_BYTES // (features.numel() * features.element_size()))
    for dy in np.unique(windows[:, 0]).tolist():
        (places,) = np.nonzero(windows[:, 0] == dy)  # neighbours in a row, from left to right
        partners = padded[:, :, dy : dy + height].unfold(3, width, 1)
        for first in range(int(places[0]), int(places[-1]) + 1, most):
            end = min(first + most, int(places[-1]) + 1)
            left = int(windows[first, 1]) + reach
            some = partners[:, :, :, left : left + end - first]
            means = (features[:, :, :, None] - some).abs_().mean(1)
            planes[:, first:end] = means.transpose(1, 2)
    return planes.masked_fill_(~wanted, 0)


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


def _forward_compiled(features: Tensor, wanted: Tensor, windows: npt.NDArray[np.int64]) -> Tensor:
    batch, height, width, _ = features.shape
    planes = features.new_zeros(batch, len(windows), height, width)
    masks = wanted.contiguous().numpy()
    _on_rows(forward_kernel, features.detach().numpy(), masks, windows, planes.numpy())
    return planes


def _backward_compiled(features: Tensor, grad: Tensor, windows: npt.NDArray[np.int64]) -> Tensor:
    total = torch.empty_like(features)
    _on_rows(backward_kernel, features.numpy(), grad.contiguous().numpy(), windows, total.numpy())
    return total


def _on_rows(kernel: Callable[..., None], x: Array, planes: Array, windows: Array, out: Array) -> None:
    """Run a kernel over all images, on threads, in pieces of rows small enough to be shared out evenly."""
    batch, height = x.shape[:2]
    pieces = [(b, first) for b in range(batch) for first in range(0, height, _CHUNK_ROWS)]

    def work(piece: tuple[int, int]) -> None:
        b, first = piece
        kernel(x[b], planes[b], windows, out[b], first, min(first + _CHUNK_ROWS, height))

    map_threads(work, pieces, torch.get_num_threads())
