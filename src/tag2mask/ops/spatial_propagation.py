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
from torch.nn import functional as F

from tag2mask.ops._scan_kernels import backward_kernel, forward_kernel, scan_orders
from tag2mask.ops._threads import on_threads
from tag2mask.ops.pairs import Engine, use_kernels

DIRECTIONS = ("left-right", "right-left", "top-down", "bottom-up")
"""The order of the four directions in gates and results."""
_FLOORS = (1e-30, 1e30)  # float32 can divide by them
_CHUNK_CHANNELS = 8


def spatial_propagation(x: Tensor, gates: Tensor, floor: float = 1e-4, engine: Engine = "auto") -> Tensor:
    """Propagate maps in four directions, each place taking over a gated share of three neighbours.

    With the previous line t-1 (column or row) of a direction and p = `normalise_gates` (gates),

        h_t(i) = (1 - sum_k p_k(i)) x_t(i) + sum_k p_k(i) h_{t-1}(i + k),   k in {-1, 0, 1}

    (Liu et al. 2017, eq. 1 with three-way connections). A neighbour outside the map has gate 0, so
    each direction starts with h = x on its first line. Because sum_k |p_k| <= 1, the recursion is
    stable. A constant map stays as it is. Differentiable once, by both arguments; the compiled scan
    keeps nothing but them and the result for that. NaN spreads along the lines.

    Args:
        x: (B, C, H, W) floating point, strided as it likes.
        gates: (B, 4, 3, C, H, W) floating point, any sign: direction in the order of `DIRECTIONS`
            (left-right, right-left, top-down, bottom-up), neighbour i - 1, i, i + 1 of the previous
            line.
        floor: least divisor, see `normalise_gates`.
        engine: ``"numba"`` (compiled scan, CPU only), ``"torch"`` (a few operations a line, on any
            device), or ``"auto"``: numba on the CPU and torch elsewhere.

    Returns:
        (B, 4, C, H, W) in the dtype of `x`; computed in float32, or in float64 where an argument is.

    Raises:
        ValueError: shapes that do not fit, nothing in them, no floating point, different devices; a
            `floor` that is not above 0; an unknown engine.

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
    _check_floor(floor)
    compiled = use_kernels(engine, x)
    dtype = torch.promote_types(torch.promote_types(x.dtype, gates.dtype), torch.float32)
    wide_x, wide_gates = x.to(dtype), gates.to(dtype)
    if compiled:
        result: Tensor = _CompiledScan.apply(wide_x, wide_gates, floor)
    else:
        result = _scan_in_torch(wide_x, normalise_gates(wide_gates, floor))
    return result.to(x.dtype)


def normalise_gates(gates: Tensor, floor: float = 1e-4) -> Tensor:
    """The shares p_k = g_k / max(sum_k |g_k|, floor) with which `spatial_propagation` works.

    Gates of neighbours outside the map become 0 first. Differentiable.

    Args:
        gates: (B, 4, 3, C, H, W) floating point, see `spatial_propagation`.
        floor: least divisor, above 0. With the small default the three |p_k| sum to 1 nearly always,
            as in the code that its authors published; 1 leaves smaller sums as they are, all that
            the paper asks for.

    Returns:
        as `gates`, with sum_k |p_k| <= 1.

    Raises:
        ValueError: gates of another shape; a `floor` that is not above 0.

    Example:
        >>> p = normalise_gates(torch.ones(1, 4, 3, 1, 5, 5))
        >>> p[0, 0, :, 0, 2, 1], p[0, 0, :, 0, 0, 1], p[0, 0, :, 0, 2, 0]
        (tensor([0.3333, 0.3333, 0.3333]), tensor([0.0000, 0.5000, 0.5000]), tensor([0., 0., 0.]))
    """
    if gates.ndim != 6 or gates.shape[1:3] != (4, 3):
        raise ValueError(f"gates must be (B, 4, 3, C, H, W), got {tuple(gates.shape)}")
    _check_floor(floor)
    height, width = gates.shape[-2:]
    inside = gates.masked_fill(_outside(height, width, gates.device), 0)
    return inside / inside.abs().sum(2, keepdim=True).clamp(min=floor)


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


def _check_floor(floor: float) -> None:
    if not _FLOORS[0] <= floor <= _FLOORS[1]:
        raise ValueError(f"floor must be above 0, from {_FLOORS[0]} to {_FLOORS[1]}, got {floor}")


def _outside(height: int, width: int, device: torch.device) -> Tensor:
    """(4, 3, 1, H, W) bool: whether the neighbour of each gate lies outside the map."""
    mask = torch.zeros(4, 3, 1, height * width, dtype=torch.bool)
    for d, (times, length, start, next_line, step) in enumerate(scan_orders(height, width).tolist()):
        mask[d, :, :, start + step * torch.arange(length)] = True
        lines = start + next_line * torch.arange(times)
        mask[d, 0, :, lines] = True
        mask[d, 2, :, lines + step * (length - 1)] = True
    return mask.view(4, 3, 1, height, width).to(device)


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
    starts = range(0, channels, _CHUNK_CHANNELS)
    jobs = [(b, c, min(c + _CHUNK_CHANNELS, channels)) for b in range(batch) for c in starts]
    on_threads(
        lambda b, first, end: kernel(*(v[b] for v in flat), least, orders, *(v[b] for v in more), first, end),
        jobs,
    )


def _scan_in_torch(x: Tensor, shares: Tensor) -> Tensor:
    """The recursion in tensor operations; directions with lines of one length share each operation."""
    groups = [(0, 1, 2, 3)] if x.shape[-1] == x.shape[-2] else [(0, 1), (2, 3)]
    results: list[Tensor] = []
    for group in groups:
        sources = torch.stack([_turn(x, d) for d in group], 1)
        scanned = _LineScan.apply(sources, torch.stack([_turn(shares[:, d], d) for d in group], 1))
        results += [_turn_back(scanned[:, place], d) for place, d in enumerate(group)]
    return torch.stack(results, 1)


def _turn(planes: Tensor, direction: int) -> Tensor:
    """(..., H, W) as (..., T, L): lines in the order in which a direction meets them."""
    turned = planes.transpose(-1, -2) if direction < 2 else planes
    return turned.flip(-2) if direction % 2 else turned


def _turn_back(lines: Tensor, direction: int) -> Tensor:
    turned = lines.flip(-2) if direction % 2 else lines
    return turned.transpose(-1, -2) if direction < 2 else turned


class _LineScan(torch.autograd.Function):
    """x (B, D, C, T, L) and shares (B, D, 3, C, T, L) -> (B, D, C, T, L), three operations a line."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shares: Tensor) -> Tensor:
        times, length = x.shape[-2:]
        padded = F.pad(x * (1 - shares.sum(2)), (1, 1))
        for t in range(1, times):
            line, before = padded[..., t, 1:-1], padded[..., t - 1, :]
            for k in range(3):
                line.addcmul_(shares[:, :, k, :, t], before[..., k : k + length])
        ctx.save_for_backward(x, shares, padded)
        return padded[..., 1:-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, shares, padded = ctx.saved_tensors
        times, length = x.shape[-2:]
        total, wide = F.pad(grad, (1, 1)), F.pad(shares, (1, 1))
        for t in range(times - 2, -1, -1):
            line = total[..., t, 1:-1]
            for k in range(3):
                # A place hands to its neighbour at k - 1, so it receives from the one at 1 - k.
                window = slice(2 - k, 2 - k + length)
                line.addcmul_(wide[:, :, k, :, t + 1, window], total[..., t + 1, window])
        total = total[..., 1:-1]
        grad_shares = torch.zeros_like(shares)
        for k in range(3):
            rise = padded[..., :-1, k : k + length] - x[..., 1:, :]
            torch.mul(total[..., 1:, :], rise, out=grad_shares[:, :, k, :, 1:])
        return total * (1 - shares.sum(2)), grad_shares
