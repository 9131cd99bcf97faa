"""Learned linear propagation of maps along rows and columns in four directions.

Liu et al., "Learning Affinity via Spatial Propagation Networks", NeurIPS 2017, with three-way
connections; used by Wang et al., "Weakly-Supervised Semantic Segmentation by Iterative Affinity
Learning", IJCV 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tag2mask.core import map_threads
from tag2mask.ops.engine import Engine, use_kernels
from tag2mask.ops.propagation.gates import check_floor, normalise_gates
from tag2mask.ops.propagation.kernels import backward_kernel, forward_kernel, scan_orders
from tag2mask.ops.propagation.torch_scan import scan_in_torch

_CHUNK_CHANNELS = 8


def spatial_propagation(x: Tensor, gates: Tensor, floor: float = 1e-4, engine: Engine = "auto") -> Tensor:
    """Propagate maps in four directions, each place taking over a gated share of three neighbours.

    With the previous line t-1 (column or row) of a direction and p = `normalise_gates` (gates),

        h_t(i) = (1 - sum_k p_k(i)) x_t(i) + sum_k p_k(i) h_{t-1}(i + k),   k in {-1, 0, 1}

    (Liu et al. 2017, eq. 1 with three-way connections). A neighbour outside the map has gate 0, so
    each direction starts with h = x on its first line. Because sum_k |p_k| <= 1, the recursion is
    stable. A constant map stays as it is. NaN spreads along the lines. Differentiable once with respect to
    both arguments; for the gradient the compiled scan keeps them and the result, nothing else.

    Args:
        x: (B, C, H, W) floating point, of any strides.
        gates: (B, 4, 3, C, H, W) floating point, any sign: directions left-right, right-left, top-down and
            bottom-up, neighbour i - 1, i, i + 1 of the previous line.
        floor: least divisor, see `normalise_gates`.
        engine: ``"numba"`` (compiled scan, CPU only), ``"torch"`` (a few operations a line, on any
            device), or ``"auto"``: numba on the CPU and torch elsewhere.

    Returns:
        (B, 4, C, H, W) in the dtype of `x`; computed in float32, or in float64 where an argument is.

    Raises:
        ValueError: shapes that do not fit; empty tensors, or ones that are not floating point; different
            devices; a `floor` that is not above 0; an unknown engine.

    Example:
        >>> x = torch.tensor([[[[1.0, 0.0, 0.0]]]])
        >>> gates = torch.zeros(1, 4, 3, 1, 1, 3)
        >>> gates[:, :, 1] = 1  # all from the place itself on the previous line
        >>> spatial_propagation(x, gates)[0, :, 0, 0]
        tensor([[1., 1., 1.],
                [0., 0., 0.],
                [1., 0., 0.],
                [1., 0., 0.]])
    """
    _check(x, gates)
    check_floor(floor)
    compiled = use_kernels(engine, x)
    dtype = torch.promote_types(torch.promote_types(x.dtype, gates.dtype), torch.float32)
    wide_x, wide_gates = x.to(dtype), gates.to(dtype)
    if compiled:
        result: Tensor = _CompiledScan.apply(wide_x, wide_gates, floor)
    else:
        result = scan_in_torch(wide_x, normalise_gates(wide_gates, floor))
    return result.to(x.dtype)


def _check(x: Tensor, gates: Tensor) -> None:
    if x.ndim != 4 or x.numel() == 0:
        raise ValueError(f"x must be (B, C, H, W) and not empty, got {tuple(x.shape)}")
    batch, channels, height, width = x.shape
    wanted = (batch, 4, 3, channels, height, width)
    if tuple(gates.shape) != wanted:
        raise ValueError(f"gates must be {wanted} for this x, got {tuple(gates.shape)}")
    if not (x.is_floating_point() and gates.is_floating_point()):
        raise ValueError(f"x and gates must be floating point, got {x.dtype} and {gates.dtype}")
    if x.device != gates.device:
        raise ValueError(f"x and gates must lie on one device, got {x.device} and {gates.device}")


class _CompiledScan(torch.autograd.Function):
    """Normalisation and scan in one kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gates: Tensor, floor: float) -> Tensor:
        x, gates = x.contiguous(), gates.contiguous()
        out = x.new_empty(x.shape[0], 4, *x.shape[1:])
        ctx.save_for_backward(x, gates, out)
        ctx.floor = floor
        _on_planes(forward_kernel, x, floor, [x, gates], [out])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gates, out = ctx.saved_tensors
        grad_x, grad_gates = torch.zeros_like(x), torch.empty_like(gates)
        _on_planes(backward_kernel, x, ctx.floor, [x, gates], [out, grad.contiguous(), grad_x, grad_gates])
        return grad_x, grad_gates, None


def _on_planes(
    kernel: Callable[..., None], x: Tensor, floor: float, inputs: list[Tensor], others: list[Tensor]
) -> None:
    """Run a kernel over all images and channels, on threads."""
    batch, channels, height, width = x.shape
    orders = scan_orders(height, width)
    flat, more = ([v.detach().flatten(-2).numpy() for v in part] for part in (inputs, others))
    least = flat[0].dtype.type(floor)
    pieces = [(b, first) for b in range(batch) for first in range(0, channels, _CHUNK_CHANNELS)]

    def work(piece: tuple[int, int]) -> None:
        b, first = piece
        end = min(first + _CHUNK_CHANNELS, channels)
        kernel(*(v[b] for v in flat), least, orders, *(v[b] for v in more), first, end)

    map_threads(work, pieces, torch.get_num_threads())
