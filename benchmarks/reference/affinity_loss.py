"""The loss of AffinityNet: gather the features of both ends of every pair of the published set."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.reference.random_walk import neighbours


def affinity_loss(features: Tensor, labels: Tensor, radius: int = 5) -> Tensor:
    """The loss of features (B, C, H, W) and labels (B, H, W): 0 background, 255 neutral."""
    batch, channels, height, width = features.shape
    source, partner = pairs(height, width, radius)
    flat = features.reshape(batch, channels, -1)
    one = flat[:, :, source].unsqueeze(2)
    two = flat[:, :, partner.flatten()].view(batch, channels, *partner.shape)
    return balanced(torch.exp(-(one - two).abs().mean(1)), labels, source, partner)


def pairs(height: int, width: int, radius: int) -> tuple[Tensor, Tensor]:
    """Cells (cells,) that are first in a pair, and their partners (offsets, cells), by number."""
    edge = radius - 1
    cells = torch.arange(height * width).view(height, width)
    source = cells[: height - edge, edge : width - edge].flatten()
    partner = torch.stack(
        [
            cells[dy : height - edge + dy, edge + dx : width - edge + dx].flatten()
            for dy, dx in neighbours(radius)
        ]
    )
    return source, partner


def balanced(affinity: Tensor, labels: Tensor, source: Tensor, partner: Tensor) -> Tensor:
    """The loss of the affinities (B, offsets, cells) of these pairs, its kinds weighted as published."""
    names = labels.reshape(len(labels), -1)
    first = names[:, source].unsqueeze(1)
    second = names[:, partner.flatten()].view(len(labels), *partner.shape)
    known = (first != 255) & (second != 255)
    background = known & (first == 0) & (second == 0)
    foreground = known & (first == second) & (first != 0)
    different = known & (first != second)

    same = -torch.log(affinity + 1e-5)
    other = -torch.log(1 + 1e-5 - affinity)
    means = [
        (t * m).sum() / (m.sum() + 1e-5)
        for t, m in zip((same, same, other), (background, foreground, different), strict=True)
    ]
    return means[0] / 4 + means[1] / 4 + means[2] / 2
