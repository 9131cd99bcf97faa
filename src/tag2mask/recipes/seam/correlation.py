"""The pixel correlation module: maps carried to the pixels that look alike."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, cat, nn
from torch.nn import functional as F

from tag2mask.backbones import Backbone
from tag2mask.ops.sizes import grid_of, image_size
from tag2mask.recipes.seam.losses import EPS, with_background

GRID_STRIDE = 8
"""Image pixels per cell of the grid on which pixels are compared: the stride of the published network."""
REDUCTIONS = (64, 128)
"""Channels that each of the two levels is reduced to."""
FEATURES = 192
"""Channels that similarities are computed from."""
CELLS_AT_ONCE = 256
"""Cells that get their scores at once: their similarities stay in the cache, and memory small."""


class PixelCorrelation(nn.Module):
    """Each cell's scores as the mean over all cells, weighted by how alike they look.

    The pixel correlation module of Wang et al., CVPR 2020 (SEAM), as in its published code: image and two
    levels of the backbone, reduced, joined and mixed without biases; cosine similarities, cut at 0 and
    divided by their sum over the cells they come from. Neither the maps nor the levels get a gradient:
    this module alone learns.

    Args:
        backbone: whose first two affinity taps are compared.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.names = tuple(backbone.affinity_taps[: len(REDUCTIONS)])
        layers = [
            nn.Conv2d(backbone.taps[name].channels, width, 1, bias=False)
            for name, width in zip(self.names, REDUCTIONS, strict=True)
        ]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight)
        self.reductions = nn.ModuleList(layers)
        self.mix = nn.Conv2d(3 + sum(REDUCTIONS), FEATURES, 1, bias=False)
        nn.init.xavier_uniform_(self.mix.weight, gain=4)

    def forward(self, maps: Tensor, features: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Refined maps with a background.

        Args:
            maps: (B, K, h, w) class maps, ready for the ReLU.
            features: the backbone's maps.
            images: (B, 3, H, W) as the backbone's weights expect them.

        Returns:
            (B, K + 1, ceil(H/8), ceil(W/8)) in 0..1, background first.
        """
        grid = grid_of(image_size(images), GRID_STRIDE)
        scores = aligned(competing_maps(maps.detach().float()), grid).flatten(2)
        refined = carried(scores, self._compared(features, images, grid))
        return refined.view(*refined.shape[:2], *grid)

    def _compared(self, features: Mapping[str, Tensor], images: Tensor, grid: tuple[int, int]) -> Tensor:
        levels = [
            aligned(reduce(features[name].detach()).relu(), grid)
            for name, reduce in zip(self.names, self.reductions, strict=True)
        ]
        mixed: Tensor = self.mix(cat([aligned(images, grid), *levels], 1)).float().flatten(2)
        length: Tensor = mixed.norm(dim=1, keepdim=True)
        return mixed / (length + EPS)


def competing_maps(maps: Tensor) -> Tensor:
    """Maps over their maxima, in each cell the strongest alone, behind a background of what is left of 1.

    Classes that are no tags compete with the others, as published.

    Shape: raw (B, K, h, w) -> (B, K + 1, h, w) in 0..1.
    """
    positive = maps.relu()
    shares = (positive - EPS).relu() / (positive.amax((2, 3), keepdim=True) + EPS)
    return with_background(shares)


def carried(scores: Tensor, features: Tensor) -> Tensor:
    """Scores of each cell as a mean over all cells, weighted by similarity.

    Args:
        scores: (B, M, n) of n cells.
        features: (B, C, n), of length 1.

    Returns:
        (B, M, n). In float32: a cell has thousands of small weights.
    """
    with torch.autocast(features.device.type, enabled=False):
        counted = cat([scores, torch.ones_like(scores[:, :1])], 1)
        parts = [_weighted(counted, features, some) for some in torch.split(features, CELLS_AT_ONCE, dim=2)]
    return cat(parts, 2)


def _weighted(counted: Tensor, features: Tensor, some: Tensor) -> Tensor:
    # The sum of the weights is the score of a class that every cell has: one product gives both.
    sums = counted @ (features.transpose(1, 2) @ some).relu()
    return sums[:, :-1] / (sums[:, -1:] + EPS)


def aligned(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, C, h, w) at a size, their corners on each other as in the published code."""
    if image_size(maps) == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=True)
