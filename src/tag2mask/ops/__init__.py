"""Pure functions on images, maps and labels."""

from tag2mask.ops.affinity_labels import affinity_labels, pool_labels
from tag2mask.ops.cam import alpha_for_level, background_score, multi_scale_cam, normalise_cams
from tag2mask.ops.crf_params import (
    CRF_AFA,
    CRF_CAM,
    CRF_DEEPLAB,
    CRF_DSRG,
    CRF_LABELS,
    CRF_TEST,
    CRFParams,
)
from tag2mask.ops.dense_crf import dense_crf, unary_from_labels
from tag2mask.ops.feature_affinity import feature_distances, feature_transitions, feature_walk
from tag2mask.ops.guided_filter import guided_filter, self_guided_filter
from tag2mask.ops.otsu import otsu_threshold
from tag2mask.ops.pairs import half_plane_offsets, pair_distances
from tag2mask.ops.random_walk import AffinityGraph, affinity_graph, affinity_graphs, walk_batch
from tag2mask.ops.spatial_propagation import normalise_gates, spatial_propagation
from tag2mask.ops.superpixels import felzenszwalb

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
    "affinity_graphs",
    "affinity_labels",
    "alpha_for_level",
    "background_score",
    "dense_crf",
    "feature_distances",
    "feature_transitions",
    "feature_walk",
    "felzenszwalb",
    "guided_filter",
    "half_plane_offsets",
    "multi_scale_cam",
    "normalise_cams",
    "normalise_gates",
    "otsu_threshold",
    "pair_distances",
    "pool_labels",
    "self_guided_filter",
    "spatial_propagation",
    "unary_from_labels",
    "walk_batch",
]
