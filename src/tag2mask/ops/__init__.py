"""Pure functions on photos, maps and labels."""

from tag2mask.ops.affinity_labels import affinity_labels, pool_labels
from tag2mask.ops.cam import alpha_for_level, background_score, multi_scale_cam, normalise_cams
from tag2mask.ops.dense_crf import (
    CRF_AFA,
    CRF_CAM,
    CRF_DEEPLAB,
    CRF_DSRG,
    CRF_LABELS,
    CRF_TEST,
    CRFParams,
    dense_crf,
    unary_from_labels,
)
from tag2mask.ops.pairs import half_plane_offsets, pair_distances
from tag2mask.ops.random_walk import AffinityGraph, affinity_graph

__all__ = [
    "CRF_AFA",
    "CRF_CAM",
    "CRF_DEEPLAB",
    "CRF_DSRG",
    "CRF_LABELS",
    "CRF_TEST",
    "AffinityGraph",
    "CRFParams",
    "affinity_graph",
    "affinity_labels",
    "alpha_for_level",
    "background_score",
    "dense_crf",
    "half_plane_offsets",
    "multi_scale_cam",
    "normalise_cams",
    "pair_distances",
    "pool_labels",
    "unary_from_labels",
]
