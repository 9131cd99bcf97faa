"""The head that turns backbone features into a map of class boundaries."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, cat, nn
from torch.nn import functional as F

from tag2mask.backbones import Tap

BOUNDARY_STRIDE = 4
"""Image pixels per pixel of a boundary map."""

_WIDTH = 32
_GROUPS = 4


class BoundaryHead(nn.Module):
    """One logit per cell of stride 4: does a class end here?

    Each level is reduced to 32 channels by a 1x1 convolution, normalised in 4 groups, enlarged to the
    stride-4 grid, and passed through a ReLU; a 1x1 convolution joins them. A level of stride 2 is pooled by
    3x3 maxima first, as a ResNet's stem. Source: Ahn, Cho and Kwak, CVPR 2019, section 4.1 and figure 2.

    Args:
        taps: the backbone's taps. All but ``out`` are read, which is computed from the last level.

    Raises:
        ValueError: no level of stride 2 or 4.
    """

    def __init__(self, taps: Mapping[str, Tap]) -> None:
        super().__init__()
        levels = {name: tap for name, tap in taps.items() if name != "out" and tap.stride > 1}
        if not any(tap.stride <= BOUNDARY_STRIDE for tap in levels.values()):
            raise ValueError(f"a boundary head needs a level of stride 2 or 4, got {dict(taps)}")
        self.names = tuple(levels)
        self.factors = tuple(tap.stride / BOUNDARY_STRIDE for tap in levels.values())
        self.reductions = nn.ModuleList(
            nn.Sequential(nn.Conv2d(tap.channels, _WIDTH, 1, bias=False), nn.GroupNorm(_GROUPS, _WIDTH))
            for tap in levels.values()
        )
        self.join = nn.Conv2d(_WIDTH * len(levels), 1, 1)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, ceil(H/4), ceil(W/4)) from the backbone's maps of images H x W."""
        reduced = [
            _on_grid(reduce, features[name], factor)
            for name, reduce, factor in zip(self.names, self.reductions, self.factors, strict=True)
        ]
        # A coarse level may cover more than the image; the finest ones fit it.
        height, width = (min(m.shape[side] for m in reduced) for side in (-2, -1))
        logits: Tensor = self.join(cat([F.relu(m[..., :height, :width]) for m in reduced], 1))
        return logits[:, 0]


def _on_grid(reduce: nn.Module, level: Tensor, factor: float) -> Tensor:
    if factor < 1:
        level = F.max_pool2d(level, 3, 2, 1)
    reduced: Tensor = reduce(level)
    return reduced if factor <= 1 else F.interpolate(reduced, scale_factor=factor, mode="bilinear")
