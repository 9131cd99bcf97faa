"""Segmentation heads of the papers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_RATES = (6, 12, 18, 24)


class ResNet38Head(nn.Module):
    """Two atrous 3x3 convolutions with dilation 12: 512 channels, then the logits.

    Source: Ahn and Kwak, CVPR 2018, appendix A.1, figure 7(d).

    Args:
        in_channels: channels of the features.
        num_outputs: number of logits, background included.
    """

    def __init__(self, in_channels: int, num_outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 512, 3, padding=12, dilation=12)
        self.classifier = nn.Conv2d(512, num_outputs, 3, padding=12, dilation=12)
        for layer in (self.conv, self.classifier):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(_bias(layer))

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, num_outputs, h, w) at the grid of ``out``."""
        logits: Tensor = self.classifier(F.relu(self.conv(features["out"])))
        return logits


class LargeFOVHead(nn.Module):
    """A 1x1 classifier on the last features after dropout (DeepLab v1).

    Source: Chen et al., ICLR 2015. The large field of view itself is fc6 of the VGG16 backbone with
    ``role="segmentation"``.

    Args:
        in_channels: channels of the features.
        num_outputs: number of logits, background included.
        dropout: probability of dropping a feature channel in training.
    """

    def __init__(self, in_channels: int, num_outputs: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(in_channels, num_outputs, 1)
        _deeplab_init(self.classifier)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, num_outputs, h, w) at the grid of ``out``."""
        logits: Tensor = self.classifier(self.dropout(features["out"]))
        return logits


class DeepLabV2Head(nn.Module):
    """Sum of four atrous 3x3 classifiers (ASPP-L).

    Source: Chen et al., TPAMI 2018, section 3.2. The dilations are 6, 12, 18 and 24 for features of
    stride 8; coarser features take smaller ones, which see as much of the image.

    Args:
        in_channels: channels of the features.
        num_outputs: number of logits, background included.
        stride: image pixels per cell of the features.
    """

    def __init__(self, in_channels: int, num_outputs: int, stride: int = 8) -> None:
        super().__init__()
        rates = [max(1, rate * 8 // stride) for rate in _RATES]
        self.branches = nn.ModuleList(
            nn.Conv2d(in_channels, num_outputs, 3, padding=rate, dilation=rate) for rate in rates
        )
        for branch in self.branches:
            _deeplab_init(branch)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, num_outputs, h, w) at the grid of ``out``."""
        return torch.stack([branch(features["out"]) for branch in self.branches]).sum(0)


def _deeplab_init(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d):
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(_bias(layer))


def _bias(layer: nn.Conv2d) -> Tensor:
    if layer.bias is None:
        raise ValueError("layer must have a bias")
    return layer.bias
