"""The boundary loss of IRN: gather the cells of the path of every pair of the published set."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.reference.affinity_loss import balanced, pairs
from benchmarks.reference.random_walk import neighbours


def boundary_loss(boundaries: Tensor, labels: Tensor, radius: int = 10) -> Tensor:
    """The loss of boundaries (B, H, W) in 0..1 and labels (B, H, W): 0 background, 255 neutral."""
    batch, height, width = boundaries.shape
    source, partner = pairs(height, width, radius)
    flat = boundaries.reshape(batch, -1)
    highest = []
    for dy, dx in neighbours(radius):
        steps = torch.tensor([y * width + x for y, x in path(dy, dx)])
        cells = flat[:, (source + steps[:, None]).flatten()].view(batch, len(steps), len(source))
        highest.append(cells.max(1).values)
    return balanced(1 - torch.stack(highest, 1), labels, source, partner)


def path(dy: int, dx: int) -> list[tuple[int, int]]:
    """Cells between (0, 0) and (dy, dx) that are nearer than 1 to the line through both."""
    box = [(y, x) for y in range(dy + 1) for x in range(min(dx, 0), max(dx, 0) + 1)]
    return [(y, x) for y, x in box if abs(dy * x - dx * y) < (dy * dy + dx * dx) ** 0.5]
