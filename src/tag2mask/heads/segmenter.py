"""Segmentation networks: a backbone and the head of a paper."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.backbones import Backbone
from tag2mask.core import UserError, unknown_name
from tag2mask.heads.deeplabv3plus import DeepLabV3PlusHead
from tag2mask.heads.segmentation import DeepLabV2Head, LargeFOVHead, ResNet38Head
from tag2mask.ops.sizes import scaled_side


class SegmentationNetwork(nn.Module):
    """A backbone and a segmentation head.

    Args:
        backbone: the features' source.
        head: turns the backbone's maps into logits.
    """

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    @property
    def pretrained(self) -> list[nn.Module]:
        """The parts that train with the base learning rate."""
        return [self.backbone]

    @property
    def new(self) -> list[nn.Module]:
        """The parts that train with the rate of new layers."""
        return [self.head]

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images.

        Args:
            images: (B, 3, H, W) RGB in 0..255.

        Returns:
            (B, K + 1, h, w) on the head's grid (stride 4 for deeplabv3plus, else that of ``out``);
            interpolate to the image before taking the argmax.
        """
        logits: Tensor = self.head(self.backbone(images))
        return logits


class MultiScaleMax(nn.Module):
    """Element-wise maximum of a segmenter's logits over several image sizes.

    Source: Chen et al., TPAMI 2018, section 4.1.1 (MSC).

    Args:
        segmenter: images -> logits.
        scales: further sizes beside 1.
    """

    def __init__(self, segmenter: SegmentationNetwork, scales: Sequence[float] = (0.5, 0.75)) -> None:
        super().__init__()
        if not scales or any(s <= 0 for s in scales):
            raise UserError(f"scales {list(scales)} must be positive numbers, at least one")
        self.segmenter = segmenter
        self.scales = tuple(scales)

    @property
    def pretrained(self) -> list[nn.Module]:
        """The parts that train with the base learning rate."""
        return self.segmenter.pretrained

    @property
    def new(self) -> list[nn.Module]:
        """The parts that train with the rate of new layers."""
        return self.segmenter.new

    def all_logits(self, images: Tensor) -> list[Tensor]:
        """Logits at scale 1, at each further scale on its own grid, and their maximum.

        The paper sums the loss over all of them in training.
        """
        full = self.segmenter(images)
        smaller = [self.segmenter(self._scaled(images, scale)) for scale in self.scales]
        size = full.shape[-2:]
        aligned = [F.interpolate(m, size, mode="bilinear", align_corners=False) for m in smaller]
        return [full, *smaller, torch.stack([full, *aligned]).amax(0)]

    def forward(self, images: Tensor) -> Tensor:
        """The maximum (B, K + 1, h, w) on the grid of scale 1; see `SegmentationNetwork.forward`."""
        return self.all_logits(images)[-1]

    @staticmethod
    def _scaled(images: Tensor, scale: float) -> Tensor:
        ratio = Fraction(scale).limit_denominator(1000)
        size = [scaled_side(side, ratio.numerator, ratio.denominator) for side in images.shape[-2:]]
        return F.interpolate(images.float(), size, mode="bilinear", align_corners=False)


_HEADS: dict[str, Callable[..., nn.Module]] = {
    "resnet38": lambda b, n: ResNet38Head(b.taps["out"].channels, n),
    "largefov": lambda b, n: LargeFOVHead(b.taps["out"].channels, n),
    "deeplabv2": lambda b, n: DeepLabV2Head(b.taps["out"].channels, n, b.taps["out"].stride),
    "deeplabv3plus": lambda b, n, **args: DeepLabV3PlusHead(b.taps, n, **args),
}


@dataclass(frozen=True)
class HeadSpec:
    """Which segmentation head a network has.

    Attributes:
        name: resnet38, largefov, deeplabv2 or deeplabv3plus on the backbone; or smp:ARCH for an
            architecture of segmentation-models-pytorch.
        channels: width of the deeplabv3plus decoder; null takes the paper's 256.
        msc_scales: further image sizes whose logits join those of size 1 by their maximum, in training
            (a loss for each and for the maximum) and in every pass of a test: DeepLab v2's MSC,
            [0.5, 0.75]. null for none.
    """

    name: str = "resnet38"
    channels: int | None = None
    msc_scales: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Check the head's name and what fits it.

        Raises:
            UserError: unknown head, or a setting that this head does not have.
        """
        if not self.architecture:
            _require_known(self.name, " in head.name")
        _require_width_to_choose(self.name, self.channels, "head.channels")
        if self.msc_scales and self.architecture:
            raise UserError(f"head.msc_scales is not for {self.name}: leave it out")

    @property
    def architecture(self) -> str:
        """The name at segmentation-models-pytorch; "" for a head of a paper."""
        return self.name.removeprefix("smp:") if self.name.startswith("smp:") else ""

    def require_features(self, reason: str) -> None:
        """Refuse heads without a backbone of ours, and networks at several sizes at once.

        Args:
            reason: what an architecture of segmentation-models-pytorch cannot do, for the message.

        Raises:
            UserError: it is such a head.
        """
        if self.architecture:
            raise UserError(f"head.name {self.name} {reason}: take another head")
        if self.msc_scales:
            raise UserError("head.msc_scales is for plain segmentation networks: leave it out")

    def build(
        self, backbone: Backbone, num_classes: int, also: Collection[str] = ()
    ) -> SegmentationNetwork | MultiScaleMax:
        """The network of a paper's head on a backbone; see `build_segmenter`."""
        segmenter = build_segmenter(self.name, backbone, num_classes, self.channels, also)
        return MultiScaleMax(segmenter, self.msc_scales) if self.msc_scales else segmenter


def build_segmenter(
    head: str,
    backbone: Backbone,
    num_classes: int,
    channels: int | None = None,
    also: Collection[str] = (),
) -> SegmentationNetwork:
    """A segmentation network of a paper on any backbone.

    Args:
        head: ``"resnet38"``, ``"largefov"``, ``"deeplabv2"`` or ``"deeplabv3plus"``.
        backbone: the features' source.
        num_classes: number of foreground classes K; the network has K + 1 logits.
        channels: width of the deeplabv3plus decoder; None takes the paper's 256. The other heads
            have the widths of their papers.
        also: maps of the backbone that are read beside this head and must be kept.

    Raises:
        UserError: unknown head, a width for a head that has none to choose, or the backbone lacks
            a map that the head needs.
    """
    _require_known(head)
    _require_width_to_choose(head, channels, "channels")
    width = {} if channels is None else {"channels": channels}
    network = SegmentationNetwork(backbone, _HEADS[head](backbone, num_classes + 1, **width))
    if isinstance(network.head, DeepLabV3PlusHead):
        backbone.use_only({*network.head.reads, *also})
    return network


def _require_known(head: str, where: str = "") -> None:
    if head not in _HEADS:
        raise unknown_name(f"segmentation head{where}", head, _HEADS)


def _require_width_to_choose(head: str, channels: int | None, setting: str) -> None:
    if channels is not None and head != "deeplabv3plus":
        raise UserError(f"{setting} is for deeplabv3plus only; leave it out for {head}")
