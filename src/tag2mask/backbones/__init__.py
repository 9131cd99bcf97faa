"""Backbones: one interface of named feature maps over timm models, ResNet38 and VGG16."""

from tag2mask.backbones.base import Backbone, Tap
from tag2mask.backbones.folding import fold_batchnorm
from tag2mask.backbones.recompute import recompute_blocks
from tag2mask.backbones.registry import BackboneSpec, build_backbone
from tag2mask.backbones.weights import load_into, load_state, not_downloaded

__all__ = [
    "Backbone",
    "BackboneSpec",
    "Tap",
    "build_backbone",
    "fold_batchnorm",
    "load_into",
    "load_state",
    "not_downloaded",
    "recompute_blocks",
]
