"""From a backbone's name to the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import timm

from tag2mask.backbones.base import Backbone, Role
from tag2mask.backbones.caffe_resnet import CaffeResNet101
from tag2mask.backbones.resnet38 import ResNet38
from tag2mask.backbones.timm_backbone import TimmBackbone
from tag2mask.backbones.vgg16 import VGG16
from tag2mask.core import UserError, unknown_name

_PAPER: dict[str, tuple[Callable[[str, Role], Backbone], tuple[str, ...]]] = {
    "resnet38": (lambda weights, role: ResNet38(weights), ResNet38.default_frozen),
    "vgg16": (VGG16, VGG16.default_frozen),
    "resnet101_caffe": (lambda weights, role: CaffeResNet101(weights), ()),
    "resnet50_irn": (lambda weights, role: TimmBackbone("resnet50.tv_in1k", weights, 16, dilated=False), ()),
}


@dataclass(frozen=True)
class BackboneSpec:
    """Which backbone a network is built on, and what of it trains; checked when it is built.

    Attributes:
        name: resnet38, vgg16, resnet101_caffe, resnet50_irn or any timm name.
        weights: imagenet, none, or the path of a weight file.
        output_stride: 8, 16 or 32; image pixels per pixel of the last map of a timm model.
        frozen: parts that do not train; null takes the architecture's default.
        batchnorm: frozen keeps batch normalisation as loaded, train lets it learn.
    """

    name: str = "resnet38"
    weights: str = "imagenet"
    output_stride: int = 8
    frozen: Sequence[str] | None = None
    batchnorm: Literal["frozen", "train"] = "frozen"

    def build(self, role: Role = "cam") -> Backbone:
        """The backbone; see `build_backbone`."""
        return build_backbone(
            self.name, self.weights, self.output_stride, self.frozen, self.batchnorm == "frozen", role
        )


def build_backbone(
    name: str,
    weights: str = "imagenet",
    output_stride: int = 16,
    frozen: Sequence[str] | None = None,
    freeze_batchnorm: bool = True,
    role: Role = "cam",
) -> Backbone:
    """Build a backbone by name.

    Args:
        name: ``"resnet38"``, ``"vgg16"``, ``"resnet101_caffe"`` (the networks of the papers, always at
            stride 8), ``"resnet50_irn"`` (stride 16 without dilation) or the name of a timm model.
        weights: ``"imagenet"``, ``"none"`` or the path of a weight file.
        output_stride: 8, 16 or 32; image pixels per pixel of the last map of a timm model.
        frozen: layers that are not trained, named as in the model's ``named_modules()``. None freezes
            what the papers freeze (the layers before stride 4 of ResNet38 and VGG16, nothing of a
            timm model) unless weights is ``"none"``; an empty list freezes nothing.
        freeze_batchnorm: keep the statistics and affine weights of batch normalisation as loaded.
            Networks without pretrained weights need False.
        role: what the features are for; see `Role`.

    Returns:
        the backbone, in training mode.

    Raises:
        UserError: unknown name or layer, weights that cannot be had or do not fit, or an output
            stride that the model does not support.
    """
    if output_stride not in (8, 16, 32):
        raise UserError(f"output_stride {output_stride} is not possible: use 8, 16 or 32")
    backbone: Backbone
    defaults: tuple[str, ...] = ()
    if name in _PAPER:
        build, defaults = _PAPER[name]
        backbone = build(weights, role)
    elif timm.is_model(name):
        backbone = TimmBackbone(name, weights, output_stride)
    else:
        raise unknown_name("backbone", name, [*_PAPER, *timm.list_models()])
    if frozen is None:
        frozen = () if weights == "none" else defaults
    backbone.freeze(frozen, freeze_batchnorm)
    return backbone
