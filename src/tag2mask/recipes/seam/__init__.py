"""Equivariant attention and pixel correlation (SEAM; Wang et al., CVPR 2020)."""

from tag2mask.recipes.seam.classifier import SeamClassifier
from tag2mask.recipes.seam.correlation import PixelCorrelation, competing_maps
from tag2mask.recipes.seam.losses import (
    cross_regularisation,
    equivariant_regularisation,
    least_foreground,
    stretched,
    strongest_only,
)

__all__ = [
    "PixelCorrelation",
    "SeamClassifier",
    "competing_maps",
    "cross_regularisation",
    "equivariant_regularisation",
    "least_foreground",
    "stretched",
    "strongest_only",
]
