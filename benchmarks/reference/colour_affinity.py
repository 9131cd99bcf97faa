"""The colour affinity loss as its equations are written: whole matrices, autograd for the gradient."""

from __future__ import annotations

import torch
from torch import Tensor


def colour_affinity_by_matrices(features: Tensor, images: Tensor) -> Tensor:
    """features (B, k, H, W), images (B, 3, H, W) -> mean L1 distance of the rows of T and of M / row sums."""
    losses = []
    for cells, colours in zip(features.flatten(2).mT, images.flatten(2).mT, strict=True):
        # Distances by products of matrices would cancel for near cells.
        transitions = _distances(cells).neg().softmax(1)
        apart = _distances(colours)
        similar = 1 - apart / apart.max()
        losses.append((transitions - similar / similar.sum(1, keepdim=True)).abs().sum(1).mean())
    return torch.stack(losses).mean()


def _distances(cells: Tensor) -> Tensor:
    return torch.cdist(cells, cells, compute_mode="donot_use_mm_for_euclid_dist")
