"""Linear propagation in four directions in tensor operations, for any device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def scan_in_torch(x: Tensor, shares: Tensor) -> Tensor:
    """The recursion in tensor operations; directions with lines of one length share each operation.

    Args:
        x: (B, C, H, W).
        shares: (B, 4, 3, C, H, W), see `normalise_gates`.

    Returns:
        (B, 4, C, H, W).
    """
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
