"""Heads: what turns backbone features into class maps, affinities, boundaries and segmentations."""

from tag2mask.heads.affinity import AffinityHead
from tag2mask.heads.boundary import BOUNDARY_STRIDE, BoundaryHead
from tag2mask.heads.cam import CAMHead
from tag2mask.heads.segmenter import HeadSpec, MultiScaleMax, SegmentationNetwork, build_segmenter
from tag2mask.heads.smp_segmenter import SmpSegmenter

__all__ = [
    "BOUNDARY_STRIDE",
    "AffinityHead",
    "BoundaryHead",
    "CAMHead",
    "HeadSpec",
    "MultiScaleMax",
    "SegmentationNetwork",
    "SmpSegmenter",
    "build_segmenter",
]
