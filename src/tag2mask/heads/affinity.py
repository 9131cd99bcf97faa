"""The head that turns backbone features into semantic affinity features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, cat, nn
from torch.nn import functional as F

from tag2mask.backbones import Backbone, Tap
from tag2mask.ops.sizes import at_size, grid_of

GRID_STRIDE = 8
"""Image pixels per pixel of the affinity grid."""

_CHANNELS_PER_GROUP = 8


class AffinityHead(nn.Module):
    """Features that are close to each other at pixels of one class, and far apart at pixels of two.

    Each tap is reduced by a 1x1 convolution, brought to the stride-8 grid and concatenated; a last
    1x1 convolution mixes them. ELU after each, no biases. Source: Ahn and Kwak, CVPR 2018, section
    4.2, with the widths of the published code (64, 128, 256 instead of 128, 256, 512).

    Args:
        taps: the backbone's taps.
        names: the taps to join, from shallow to deep.
        reductions: channels to which each of them is reduced.
        out_channels: channels of the result; None takes the sum of `reductions`.
        group_norm: normalise each reduction in groups of 8 channels, as published for VGG16.

    Raises:
        ValueError: `names` and `reductions` differ in length, or a name is no tap.
    """

    def __init__(
        self,
        taps: Mapping[str, Tap],
        names: Sequence[str],
        reductions: Sequence[int] = (64, 128, 256),
        out_channels: int | None = None,
        group_norm: bool = False,
    ) -> None:
        super().__init__()
        if len(names) != len(reductions):
            raise ValueError(f"names and reductions must be equally many, got {names} and {reductions}")
        if not set(names) <= set(taps):
            raise ValueError(f"names {names} must be among the taps {list(taps)}")
        self.names = tuple(names)
        self.grid_tap, self.grid_ratio = _grid_source(taps)
        self.out_channels = sum(reductions) if out_channels is None else out_channels
        self.reductions = nn.ModuleList(
            _reduction(taps[name].channels, width, group_norm)
            for name, width in zip(names, reductions, strict=True)
        )
        self.mix = nn.Conv2d(sum(reductions), self.out_channels, 1, bias=False)
        nn.init.xavier_uniform_(self.mix.weight, gain=4)

    @classmethod
    def for_backbone(cls, backbone: Backbone, group_norm: bool | None = None) -> AffinityHead:
        """The published head on a backbone's own affinity taps.

        Args:
            backbone: the features' source.
            group_norm: as in the constructor; None normalises where the backbone has no normalisation
                layers of its own (VGG16).
        """
        if group_norm is None:
            group_norm = not any("norm" in type(m).__name__.lower() for m in backbone.modules())
        return cls(backbone.taps, backbone.affinity_taps, group_norm=group_norm)

    @property
    def norms(self) -> list[nn.Module]:
        """The group norms. The published code trains them at the rate of pretrained layers."""
        return [m for m in self.modules() if isinstance(m, nn.GroupNorm)]

    @property
    def convolutions(self) -> list[nn.Module]:
        """The layers that train at the rate of new layers."""
        return [m for m in self.modules() if isinstance(m, nn.Conv2d)]

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Affinity features of an image H x W.

        Args:
            features: the backbone's maps, each (B, C, h, w).

        Returns:
            (B, out_channels, ceil(H/8), ceil(W/8)).
        """
        height, width = features[self.grid_tap].shape[-2:]
        size = grid_of((height, width), self.grid_ratio)
        joined = [
            at_size(reduce(features[name]), size)
            for name, reduce in zip(self.names, self.reductions, strict=True)
        ]
        return F.elu(self.mix(cat(joined, 1)))


def _reduction(channels: int, width: int, group_norm: bool) -> nn.Sequential:
    conv = nn.Conv2d(channels, width, 1, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    norm = [nn.GroupNorm(max(1, width // _CHANNELS_PER_GROUP), width)] if group_norm else []
    return nn.Sequential(conv, *norm, nn.ELU())


def _grid_source(taps: Mapping[str, Tap]) -> tuple[str, int]:
    """A tap whose size gives ceil(H/8) exactly, and how many of its pixels one grid pixel spans."""
    fine = [(name, tap.stride) for name, tap in taps.items() if GRID_STRIDE % tap.stride == 0]
    if not fine:
        raise ValueError(f"taps must include a stride that divides {GRID_STRIDE}, got {dict(taps)}")
    name, stride = max(fine, key=lambda item: item[1])
    return name, GRID_STRIDE // stride
