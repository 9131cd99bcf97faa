"""Means over all processes of a training, so that its devices do not change its losses."""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from tag2mask.core import IGNORE
from tag2mask.losses.precision import at_least_float32


def over_processes(sums: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Sums and counts of all processes.

    Where each process divides by its own count, images with few counted pixels weigh too much. The
    gradient of the local sums is multiplied by the number of processes, because DDP averages gradients:
    a loss made of these sums trains as it does in one process. All processes must call this function.

    Args:
        sums: floating point of any shape.
        counts: what they will be divided by, of the same shape; no gradient.

    Returns:
        both, as they are without torch.distributed.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return sums, counts
    scaled = sums * distributed.get_world_size()
    totals = torch.stack([sums.detach(), counts.to(sums.dtype)])
    distributed.all_reduce(totals)
    return scaled + (totals[0] - scaled.detach()), totals[1]


def mean_over_processes(total: Tensor, count: Tensor | int) -> Tensor:
    """A sum over a count, both of all processes; 0 where nothing is counted, whose mean would be NaN.

    Args:
        total: scalar sum of the counted values.
        count: how many they are.

    Example:
        >>> mean_over_processes(torch.tensor(6.0), 3)
        tensor(2.)
    """
    sums, counts = over_processes(total, torch.as_tensor(count, device=total.device))
    return sums / counts.clamp(min=1)


def known_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, mean over the labelled places of all processes; 0 where none is labelled.

    bfloat16 is computed as float32.

    Shape: logits (N, C, ...), labels (N, ...) int64 with 255 where nothing is known -> scalar.
    """
    total = F.cross_entropy(at_least_float32(logits), labels, ignore_index=IGNORE, reduction="sum")
    return mean_over_processes(total, (labels != IGNORE).sum())


def mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of values over a mask of their shape, over all processes; 0 without a place in it."""
    return mean_over_processes((values * mask).sum(), mask.sum())
