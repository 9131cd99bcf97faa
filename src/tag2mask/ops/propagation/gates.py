"""The gates of a spatial propagation, and the shares that they stand for."""

from __future__ import annotations

import torch
from torch import Tensor

from tag2mask.ops.propagation.kernels import scan_orders

_FLOORS = (1e-30, 1e30)  # float32 can divide by them


def normalise_gates(gates: Tensor, floor: float = 1e-4) -> Tensor:
    """The shares p_k = g_k / max(sum_k |g_k|, floor) with which `spatial_propagation` works.

    Gates of neighbours outside the map become 0 first. Differentiable.

    Args:
        gates: (B, 4, 3, C, H, W) floating point, see `spatial_propagation`.
        floor: least divisor, above 0. With the small default the three |p_k| sum to 1 nearly everywhere, as
            in the authors' code. With 1, sums up to 1 stay as they are, which is all that the paper asks
            for.

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
    check_floor(floor)
    height, width = gates.shape[-2:]
    inside = gates.masked_fill(_outside(height, width, gates.device), 0)
    return inside / inside.abs().sum(2, keepdim=True).clamp(min=floor)


def check_floor(floor: float) -> None:
    """Raise a ValueError for a floor that float32 cannot divide by."""
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
