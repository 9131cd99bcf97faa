"""ResNet101 as Caffe's DeepLab v2 has it."""

from __future__ import annotations

from typing import cast

from torch import nn

from tag2mask.backbones.timm_backbone import TimmBackbone
from tag2mask.backbones.vgg16 import CAFFE
from tag2mask.core import UserError


class CaffeResNet101(TimmBackbone):
    """ResNet101 with the strides, dilations and colours of DeepLab v2's Caffe network, output stride 8.

    Source: Chen et al., TPAMI 2018, and its PyTorch port (deeplab-pytorch). Three things differ from timm's
    network of the same layers: a block is strided in its first 1x1 convolution, all blocks of the last two
    stages are dilated by 2 and 4, the first ones too, and images are BGR minus the Caffe means. Weights of
    one do not suit the other.

    Args:
        weights: ``"none"`` or the path of a file that ``tag2mask weights convert`` made.

    Raises:
        UserError: weights is ``"imagenet"``, or the file does not fit.
    """

    def __init__(self, weights: str = "none") -> None:
        if weights == "imagenet":
            raise UserError(
                "timm's ImageNet weights do not suit resnet101_caffe: convert those of deeplab-pytorch "
                "(tag2mask weights convert) and give their path (--weights PATH), or none"
            )
        super().__init__("resnet101", weights, 8)
        for stage, dilation in (("layer2", 1), ("layer3", 2), ("layer4", 4)):
            for number, block in enumerate(cast(nn.Sequential, self.model.get_submodule(stage))):
                stride = 2 if (stage, number) == ("layer2", 0) else 1
                _set(block.get_submodule("conv1"), stride, 1)
                _set(block.get_submodule("conv2"), 1, dilation)
        self._expect(CAFFE)
        cast(nn.MaxPool2d, self.model.get_submodule("maxpool")).ceil_mode = True


def _set(layer: nn.Module, stride: int, dilation: int) -> None:
    convolution = cast(nn.Conv2d, layer)
    convolution.stride, convolution.dilation = (stride, stride), (dilation, dilation)
    if convolution.kernel_size != (1, 1):
        convolution.padding = (dilation, dilation)
