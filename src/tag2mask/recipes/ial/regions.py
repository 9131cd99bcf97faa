"""Superpixels as training samples and as confident regions (Wang et al. 2020, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from tag2mask.core import IGNORE


def region_labels(superpixels: Tensor, labels: Tensor, num_classes: int, share: float = 0.8) -> Tensor:
    """The class of each superpixel that nearly all of its pixels agree on.

    A superpixel is a sample of class c if more than `share` of its pixels have the label c; unknown
    pixels count as pixels of no class.

    Args:
        superpixels: (H, W) integers 0..R-1.
        labels: (H, W) integers 0..K or 255.
        num_classes: number of foreground classes K.
        share: least share of pixels (not reached at equality), 0.8 in the paper.

    Returns:
        (R,) int64: 0..K, or 255 for a superpixel that is no sample.

    Raises:
        ValueError: the maps differ in shape.

    Example:
        >>> pixels = torch.tensor([[0, 0, 0, 1, 1, 1]])
        >>> region_labels(pixels, torch.tensor([[2, 2, 2, 2, 0, 255]]), num_classes=2)
        tensor([  2, 255])
    """
    if superpixels.shape != labels.shape:
        raise ValueError(
            f"superpixels {tuple(superpixels.shape)} and labels {tuple(labels.shape)} differ in shape"
        )
    regions, values = superpixels.flatten().long(), labels.flatten().long()
    count = int(regions.max()) + 1
    sizes = torch.bincount(regions, minlength=count)
    known = values != IGNORE
    joint = regions[known] * (num_classes + 1) + values[known]
    votes = torch.bincount(joint, minlength=count * (num_classes + 1)).view(count, num_classes + 1)
    best, winner = votes.max(1)
    return torch.where(best > share * sizes, winner, torch.full_like(winner, IGNORE))


def pool_regions(features: Tensor, superpixels: Tensor) -> Tensor:
    """Mean feature of each superpixel: mask pooling.

    Each pixel has the feature of the cell that its centre lies in, so that a superpixel smaller than a cell
    has a feature too. Differentiable with respect to `features`.

    Args:
        features: (C, h, w) of an image.
        superpixels: (H, W) integers 0..R-1 of the same image.

    Returns:
        (R, C); zeros for a number that no pixel has.

    Example:
        >>> pool_regions(torch.tensor([[[1.0, 3.0]]]), torch.tensor([[0, 0, 0, 1]]))
        tensor([[1.6667],
                [3.0000]])
    """
    channels, height, width = features.shape
    rows, columns = (
        (2 * torch.arange(size, device=features.device) + 1) * cells // (2 * size)
        for size, cells in ((superpixels.shape[0], height), (superpixels.shape[1], width))
    )
    cells = (rows[:, None] * width + columns).flatten()
    regions = superpixels.flatten().long()
    count = int(regions.max()) + 1
    pairs, pixels = torch.unique(regions * (height * width) + cells, return_counts=True)
    values = features.flatten(1)[:, pairs % (height * width)] * pixels
    sums = features.new_zeros(channels, count).index_add(1, pairs // (height * width), values)
    sizes = torch.bincount(regions, minlength=count).clamp(min=1)
    return (sums / sizes).T


def confident_labels(
    probabilities: Tensor, superpixels: Tensor, confidence: float = 0.7, allowed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The class of every superpixel that the region network is sure about.

    Args:
        probabilities: (R, K + 1) softmax of the region network.
        superpixels: (H, W) integers 0..R-1.
        confidence: least probability (not reached at equality), 0.7 in the paper.
        allowed: (K + 1,) bool, classes that the image may have; None for all.

    Returns:
        labels (H, W) int64, 0..K or 255, and the probability (H, W) of the winning class.
    """
    if allowed is not None:
        probabilities = probabilities.masked_fill(~allowed, 0)
    best, winner = probabilities.max(1)
    mined = torch.where(best > confidence, winner, torch.full_like(winner, IGNORE))
    return mined[superpixels.long()], best[superpixels.long()]
