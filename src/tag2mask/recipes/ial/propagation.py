"""The spatial propagation network: learned gates carry class probabilities along rows and columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.backbones import Backbone, Tap
from tag2mask.core import UserError
from tag2mask.ops import normalise_gates, spatial_propagation
from tag2mask.ops.sizes import at_size, image_size

STRIDE = 2
"""Image pixels per cell of the maps that are propagated."""

_LEAST = 1e-6
_SHARED_START = 0.3
"""Each of the three shared gates at the start: a place has nine tenths of its value from those before it."""


def guide_taps(taps: Mapping[str, Tap], count: int = 3) -> list[str]:
    """The maps that the guidance network joins, from deep to shallow.

    The deepest map of each stride from 4 on, filled up with the deepest of the others; of VGG16
    these are conv5_3, conv4_3 and conv3_3, as published. The last map (``out``) belongs to the
    classifier and is not used.
    """
    names = [name for name in reversed(list(taps)) if name != "out" and taps[name].stride >= 4]
    first = {taps[name].stride: name for name in reversed(names)}
    order = [*first.values(), *(name for name in names if name not in first.values())]
    return [name for name in names if name in order[:count]]


class GuidanceNetwork(nn.Module):
    """Gates of an image: a backbone whose maps are joined from deep to shallow by sums.

    Liu et al., NeurIPS 2017, with VGG16: convolutions 3x3, each followed by an upsampling and the sum
    with the next map; ELU on the last; a 3x3 convolution to the gates at stride 2.

    Args:
        backbone: the features' source.
        channels: widths of the convolutions, deep to shallow; one per map.
        gates: number of gate maps.
    """

    def __init__(self, backbone: Backbone, channels: Sequence[int], gates: int) -> None:
        super().__init__()
        self.names = guide_taps(backbone.taps, len(channels))
        inputs = [backbone.taps[name].channels for name in self.names]
        before = [inputs[0], *channels[:-1]]
        # A map of another width than what it is added to is brought to it first.
        self.lateral = nn.ModuleList(
            nn.Identity() if a == b else nn.Conv2d(a, b, 1) for a, b in zip(inputs, before, strict=True)
        )
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in zip(before, channels, strict=True)
        )
        self.gates = nn.Conv2d(channels[-1], gates, 3, padding=1)

    def forward(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> Tensor:
        """Raw gates (B, gates, H, W) at `size` from the backbone's maps."""
        x = features[self.names[0]]
        for place, (conv, lateral) in enumerate(zip(self.convs, self.lateral, strict=True)):
            if place:
                skip = lateral(features[self.names[place]])
                x = at_size(x, image_size(skip)) + skip
            x = conv(x)
        gates: Tensor = self.gates(F.elu(at_size(x, size)))
        return gates


@dataclass(frozen=True)
class PropagationSpec:
    """Widths, gates and passes of a propagation network.

    Attributes:
        channels: channels of the embedding that is propagated, 32 as published for SPN; 0 propagates the
            probabilities themselves, with nothing learned before or after.
        guide_channels: widths of the guidance network, deep to shallow.
        gate_floor: least divisor of the gates, see `tag2mask.ops.normalise_gates`: 1e-4 makes sum |p|
            equal 1, as in SPN's published code; 1 keeps smaller gates as they are, which is all that
            stability asks for.
        passes: propagations in a row with the same gates.
        gates: each_channel has its own, of any sign, as published; shared has one set in 0..1 for all
            of them: affinities of two pixels whatever their class, which can only carry probabilities on.
            Gates of a class also learn how often it is mined, and lose classes whose regions are seldom sure.

    Raises:
        UserError: a value lies outside its range.
    """

    channels: int = 32
    guide_channels: Sequence[int] = (512, 512, 256)
    gate_floor: float = 1e-4
    passes: int = 2
    gates: Literal["each_channel", "shared"] = "each_channel"

    def __post_init__(self) -> None:
        if self.channels < 0:
            raise UserError(f"propagation.channels must be 0 or more, got {self.channels}")
        if not self.gate_floor > 0:
            raise UserError(f"propagation.gate_floor must be above 0, got {self.gate_floor}")
        if self.passes < 1:
            raise UserError(f"propagation.passes must be at least 1, got {self.passes}")


class PropagationNetwork(nn.Module):
    """Probability maps of an image, refined by two propagations with the image's own gates.

    The maps are embedded at stride 2, propagated in four directions of which each place keeps the
    highest value, twice with the same gates, and read out at image size (Liu et al. 2017; Wang et
    al. 2020, section 3.2.2: 12 affinities, 4 directions of 3 neighbours, for each channel).

    Args:
        backbone: guide for the gates.
        num_outputs: number of classes K + 1.
        spec: widths, gates and passes.
    """

    def __init__(
        self, backbone: Backbone, num_outputs: int, spec: PropagationSpec = PropagationSpec()
    ) -> None:
        super().__init__()
        channels = spec.channels
        self.channels = channels or num_outputs
        self.floor = spec.gate_floor
        self.passes = spec.passes
        self.backbone = backbone
        self.shared = spec.gates == "shared"
        self.gate_channels = 1 if self.shared else self.channels
        self.guide = GuidanceNetwork(backbone, spec.guide_channels, 12 * self.gate_channels)
        if self.shared:
            nn.init.constant_(self.guide.gates.bias, math.log(_SHARED_START / (1 - _SHARED_START)))  # type: ignore[arg-type]
        backbone.use_only(self.guide.names)
        self.embed: nn.Module | None = None
        if channels:
            self.embed = nn.Conv2d(num_outputs, channels, 4, stride=STRIDE, padding=1)
            self.read = nn.Sequential(
                nn.Conv2d(channels, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, num_outputs, 3, padding=1)
            )

    def new_parts(self) -> list[nn.Module]:
        """What trains at the full rate: the guide's convolutions and the layers that read out."""
        return [self.guide, *([self.read] if self.embed is not None else [])]

    def slow_parts(self) -> list[nn.Module]:
        """What trains at the rate of the pretrained backbone though it starts at random: the embedding."""
        return [self.embed] if self.embed is not None else []

    def forward(self, images: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Refined maps and the affinities that refined them.

        Args:
            images: (B, 3, H, W) RGB 0..255.
            maps: (B, K + 1, H, W) probabilities of the unary network.

        Returns:
            logits (B, K + 1, H, W), and the gates (B, 4, 3, C, H/2, W/2) with sum |p| <= 1; C is 1 where
            they are shared.
        """
        x = self.embed(maps) if self.embed is not None else _halve(maps)
        gates = self.affinities(images, image_size(x))
        x = x.float()
        of_all = gates.expand(-1, -1, -1, x.shape[1], -1, -1)
        for _ in range(self.passes):
            x = spatial_propagation(x, of_all, self.floor).amax(1)
        x = at_size(x, image_size(maps))
        logits: Tensor = self.read(x) if self.embed is not None else x.clamp(min=_LEAST).log()
        return logits, gates

    def affinities(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """Gates (B, 4, 3, C, h, w) of images (B, 3, H, W), as `spatial_propagation` takes them, at a size."""
        raw = self.guide(self.backbone(images), size).float()
        gates = raw.view(len(raw), 4, 3, self.gate_channels, *size)
        return normalise_gates(gates.sigmoid() if self.shared else gates, self.floor)


def _halve(maps: Tensor) -> Tensor:
    size = (max(1, maps.shape[-2] // STRIDE), max(1, maps.shape[-1] // STRIDE))
    return at_size(maps, size)
