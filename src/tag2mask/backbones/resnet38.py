"""ResNet38, the wide residual network of the affinity paper and of many that followed."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Backbone, Normalisation, Tap
from tag2mask.backbones.weights import backbone_part, load_into, load_state
from tag2mask.core import UserError

_ENTRIES = {"b4": "conv3", "b5": "conv4", "b6": "conv5"}
"""The taps in front of a block: its normalised, rectified input."""


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)


class _Block(nn.Module):
    """Pre-activation block of two 3x3 convolutions; submodule names are those of the public weights."""

    def __init__(
        self,
        inputs: int,
        mid: int,
        outputs: int,
        stride: int = 1,
        dilations: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__()
        self.bn_branch2a = nn.BatchNorm2d(inputs)
        self.conv_branch2a = _conv(inputs, mid, 3, stride, dilations[0])
        self.bn_branch2b1 = nn.BatchNorm2d(mid)
        self.conv_branch2b1 = _conv(mid, outputs, 3, 1, dilations[1])
        same = inputs == outputs and stride == 1
        self.conv_branch1 = None if same else _conv(inputs, outputs, 1, stride)

    def entry(self, x: Tensor) -> Tensor:
        """The normalised, rectified input."""
        return F.relu(self.bn_branch2a(x))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The block's output and its normalised, rectified input."""
        entry = self.entry(x)
        shortcut = x if self.conv_branch1 is None else self.conv_branch1(entry)
        y = self.conv_branch2a(entry)
        y = self.conv_branch2b1(F.relu(self.bn_branch2b1(y)))
        return shortcut + y, entry


class _Bottleneck(nn.Module):
    """Pre-activation bottleneck 1x1, 3x3, 1x1 with dropout before the second and third."""

    def __init__(self, inputs: int, outputs: int, dilation: int, dropout: float) -> None:
        super().__init__()
        quarter, half = outputs // 4, outputs // 2
        self.bn_branch2a = nn.BatchNorm2d(inputs)
        self.conv_branch2a = _conv(inputs, quarter, 1)
        self.bn_branch2b1 = nn.BatchNorm2d(quarter)
        self.dropout_2b1 = nn.Dropout2d(dropout)
        self.conv_branch2b1 = _conv(quarter, half, 3, dilation=dilation)
        self.bn_branch2b2 = nn.BatchNorm2d(half)
        self.dropout_2b2 = nn.Dropout2d(dropout)
        self.conv_branch2b2 = _conv(half, outputs, 1)
        self.conv_branch1 = _conv(inputs, outputs, 1)

    def entry(self, x: Tensor) -> Tensor:
        """The normalised, rectified input."""
        return F.relu(self.bn_branch2a(x))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The block's output and its normalised, rectified input."""
        entry = self.entry(x)
        y = self.conv_branch2a(entry)
        y = self.conv_branch2b1(self.dropout_2b1(F.relu(self.bn_branch2b1(y))))
        y = self.conv_branch2b2(self.dropout_2b2(F.relu(self.bn_branch2b2(y))))
        return self.conv_branch1(entry) + y, entry


class ResNet38(Backbone):
    """Wide ResNet "A1" (Wu et al., 2016) with atrous convolutions, output stride 8.

    Source: Ahn and Kwak, CVPR 2018, appendix A.1. The last three levels are dilated by 1/2, 2 and 4.
    Taps: ``conv3`` and ``conv4``, ``conv5`` are the normalised and rectified inputs of the levels
    b4 (256 channels, stride 4), b5 (512) and b6 (1024); ``out`` is the last map (4096).

    Args:
        weights: ``"none"`` or the path of the public ImageNet weights converted to PyTorch. There
            is no place to download them from automatically.

    Raises:
        UserError: weights is ``"imagenet"``, or the file does not fit.
    """

    default_frozen: ClassVar[tuple[str, ...]] = ("conv1a", "b2", "b2_1", "b2_2")
    """The layers that the paper's code does not train."""

    def __init__(self, weights: str = "none") -> None:
        super().__init__(Normalisation.from_unit(IMAGENET_MEAN, IMAGENET_STD))
        if weights == "imagenet":
            raise UserError(
                "the ImageNet weights of resnet38 cannot be fetched automatically: download "
                "ilsvrc-cls_rna-a1_cls1000_ep-0001.pth, linked in the README of "
                "github.com/visinf/1-stage-wseg, or convert MXNet's file (tag2mask weights convert), "
                "and give its path (--weights PATH), or none"
            )
        self.taps = {"conv3": Tap(256, 4), "conv4": Tap(512, 8), "conv5": Tap(1024, 8), "out": Tap(4096, 8)}
        self.affinity_taps = ("conv4", "conv5", "out")
        self.conv1a = _conv(3, 64)
        self._add_level(2, [_Block(64, 128, 128, 2)] + [_Block(128, 128, 128) for _ in range(2)])
        self._add_level(3, [_Block(128, 256, 256, 2)] + [_Block(256, 256, 256) for _ in range(2)])
        self._add_level(4, [_Block(256, 512, 512, 2)] + [_Block(512, 512, 512) for _ in range(5)])
        dilated = [_Block(1024, 512, 1024, dilations=(2, 2)) for _ in range(2)]
        self._add_level(5, [_Block(512, 512, 1024, dilations=(1, 2)), *dilated])
        self.b6 = _Bottleneck(1024, 2048, dilation=4, dropout=0.3)
        self.b7 = _Bottleneck(2048, 4096, dilation=4, dropout=0.5)
        self.bn7 = nn.BatchNorm2d(4096)
        self._initialise()
        if weights != "none":
            load_into(self, backbone_part(load_state(weights)), weights, ignored=("linear1000", "fc8"))

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """The kept taps of normalised images (B, 3, H, W); nothing behind the deepest is computed."""
        maps: dict[str, Tensor] = {}
        x = self.conv1a(x)
        for name, block in self._blocks():
            tap = _ENTRIES.get(name)
            if tap == list(self.taps)[-1]:
                maps[tap] = block.entry(x)
                break
            x, entry = block(x)
            if tap:
                maps[tap] = entry
        else:
            maps["out"] = F.relu(self.bn7(x))
        return {name: maps[name] for name in self.taps}

    def use_only(self, names: Collection[str]) -> None:
        """As `Backbone.use_only`; layers behind the deepest tap are neither computed nor trained."""
        super().use_only(names)
        for block, tap in _ENTRIES.items():
            if tap == list(self.taps)[-1]:
                self._freeze_behind(f"{block}.bn_branch2a")

    def _add_level(self, level: int, blocks: list[_Block]) -> None:
        for i, block in enumerate(blocks):
            self.add_module(f"b{level}_{i}" if i else f"b{level}", block)

    def _blocks(self) -> list[tuple[str, _Block | _Bottleneck]]:
        """From the image to ``out``, in the order in which they were added."""
        return [(n, b) for n, b in self.named_children() if isinstance(b, _Block | _Bottleneck)]

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
