"""Spatial propagation as a scan in tensor operations, with autograd for the gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def spatial_propagation_by_autograd(x: Tensor, gates: Tensor) -> Tensor:
    """x (B, C, H, W), gates (B, 4, 3, C, H, W) -> (B, 4, C, H, W), one direction after the other."""
    results = []
    for direction in range(4):
        lines, shares = (_in_order(v, direction) for v in (x, gates[:, direction]))
        results.append(_in_order(_scan(lines, shares), direction, back=True))
    return torch.stack(results, 1)


def _in_order(maps: Tensor, direction: int, back: bool = False) -> Tensor:
    """Lines of a direction on the last axis but one, or back to (H, W)."""
    if back and direction % 2:
        maps = maps.flip(-2)
    if direction < 2:
        maps = maps.transpose(-1, -2)
    return maps.flip(-2) if direction % 2 and not back else maps


def _scan(x: Tensor, gates: Tensor) -> Tensor:
    """x (B, C, T, L), gates (B, 3, C, T, L)."""
    inside = torch.ones_like(gates)
    inside[:, 0, ..., 0] = inside[:, 2, ..., -1] = 0
    gates = gates * inside
    shares = gates / gates.abs().sum(1, keepdim=True).clamp(min=1e-4)
    kept = (1 - shares.sum(1)) * x
    lines = [x[..., 0, :]]
    for t in range(1, x.shape[-2]):
        before = F.pad(lines[-1], (1, 1))
        neighbours = torch.stack([before[..., :-2], before[..., 1:-1], before[..., 2:]], 1)
        lines.append(kept[..., t, :] + (shares[..., t, :] * neighbours).sum(1))
    return torch.stack(lines, -2)
