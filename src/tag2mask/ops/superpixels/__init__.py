"""Superpixels: small regions of one colour."""

from tag2mask.ops.superpixels.graph_based import felzenszwalb

__all__ = ["felzenszwalb"]
