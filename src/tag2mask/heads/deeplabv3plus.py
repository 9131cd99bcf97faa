"""The decoder of DeepLab v3+ on any backbone with a stride-4 map."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, cat, nn
from torch.nn import functional as F

from tag2mask.backbones import Tap
from tag2mask.backbones.base import init_convolutions
from tag2mask.backbones.phase_conv import use_phase_convolutions
from tag2mask.core import UserError

_RATES = (6, 12, 18)
_LOW_LEVEL_CHANNELS = 48


class DeepLabV3PlusHead(nn.Module):
    """Atrous pooling with separable convolutions, joined with a low-level map at stride 4.

    Source: Chen et al., ECCV 2018, figure 2. The atrous rates are 6, 12, 18 for features of stride
    16, and grow as the stride shrinks. The image-pooling branch has a bias instead of batch
    normalisation, so that a batch of one image can be trained.

    Args:
        taps: the backbone's taps, the last is ``"out"``. The head reads the map that
            `last_level` names.
        num_outputs: number of logits, background included.
        channels: width of the decoder.
        dropout: probability of dropping a channel before the classifier.

    Raises:
        UserError: the backbone has no map of stride 4.
    """

    def __init__(
        self, taps: Mapping[str, Tap], num_outputs: int, channels: int = 256, dropout: float = 0.1
    ) -> None:
        super().__init__()
        low_level = [name for name, tap in taps.items() if tap.stride == 4]
        if not low_level:
            raise UserError("deeplabv3plus needs a backbone with a feature map of stride 4; choose another")
        self.low_level = low_level[-1]
        self.high_level = last_level(taps)
        self.reads = (self.low_level, self.high_level)
        inputs, stride = taps[self.high_level].channels, taps[self.high_level].stride
        rates = [max(1, rate * 16 // stride) for rate in _RATES]
        self.point = _unit(inputs, channels)
        self.atrous = nn.ModuleList(_separable(inputs, channels, rate) for rate in rates)
        self.pool = nn.Sequential(nn.Conv2d(inputs, channels, 1), nn.ReLU())
        self.project = _unit((len(rates) + 2) * channels, channels)
        self.reduce = _unit(taps[self.low_level].channels, _LOW_LEVEL_CHANNELS)
        self.refine = nn.Sequential(
            _separable(channels + _LOW_LEVEL_CHANNELS, channels), _separable(channels, channels)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_outputs, 1)
        init_convolutions(self)
        use_phase_convolutions(self)
        nn.init.normal_(self.classifier.weight, std=0.01)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, num_outputs, ceil(H/4), ceil(W/4)) from the backbone's maps."""
        x, low = features[self.high_level], self.reduce(features[self.low_level])
        pooled = self.pool(F.adaptive_avg_pool2d(x, 1)).expand(-1, -1, *x.shape[-2:])
        x = self.project(cat([self.point(x), *(branch(x) for branch in self.atrous), pooled], 1))
        x = F.interpolate(x, low.shape[-2:], mode="bilinear", align_corners=False)
        logits: Tensor = self.classifier(self.dropout(self.refine(cat([x, low], 1))))
        return logits


def last_level(taps: Mapping[str, Tap]) -> str:
    """The tap that atrous pooling reads: the narrowest of the last two at the deepest stride.

    Some backbones widen their last level with a 1x1 convolution that only their classifier needs
    (MobileNetV2: 320 to 1280 channels); DeepLab reads the map before it.
    """
    names = list(taps)[-2:]
    same = [name for name in names if taps[name].stride == taps["out"].stride]
    narrow = min(same, key=lambda name: taps[name].channels)
    return narrow if taps[narrow].channels < taps["out"].channels / 2 else "out"


def _unit(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def _separable(inputs: int, outputs: int, dilation: int = 1) -> nn.Sequential:
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=dilation, dilation=dilation, groups=inputs, bias=False)
    return nn.Sequential(depthwise, nn.BatchNorm2d(inputs), nn.ReLU(), *_unit(inputs, outputs))
