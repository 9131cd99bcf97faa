"""Pure functions on images, maps and labels.

One layout holds for every operator here and every loss in `tag2mask.losses`: channels come first, rows
before columns.

- an image: (3, H, W) RGB, uint8 0..255
- score maps, features: (K, H, W) or (C, H, W) floating point
- labels: (H, W) integers, 0 = background, 255 = unknown
- a batch: the same with B in front, (B, 3, H, W)

Where a function takes tensors and NumPy arrays, both follow this rule, and the result is of the kind of
its argument. Arrays of libraries that put the channels last (PIL, OpenCV, matplotlib) are turned
once, where they come in: ``array.transpose(2, 0, 1)``. Another layout raises a ValueError that says so.

The public names are those below. Each subpackage (``ops.walk``, ``ops.lattice``, ...) names its own parts,
which may change.
"""

from tag2mask.ops.all_pairs import feature_distances, feature_transitions, feature_walk
from tag2mask.ops.cam import alpha_for_level, background_score, multi_scale_cam, normalise_cams
from tag2mask.ops.filters import guided_filter, otsu_threshold, self_guided_filter
from tag2mask.ops.labels import affinity_labels, pool_labels
from tag2mask.ops.lattice import (
    CRF_CAM,
    CRF_DEEPLAB,
    CRF_DSRG,
    CRF_LABELS,
    CRFParams,
    dense_crf,
    unary_from_labels,
)
from tag2mask.ops.pairs import half_plane_offsets, pair_distances, path_maxima
from tag2mask.ops.propagation import normalise_gates, spatial_propagation
from tag2mask.ops.superpixels import felzenszwalb
from tag2mask.ops.walk import AffinityGraph, affinity_graph, random_walk, random_walks, to_dense

__all__ = [
    "CRF_CAM",
    "CRF_DEEPLAB",
    "CRF_DSRG",
    "CRF_LABELS",
    "AffinityGraph",
    "CRFParams",
    "affinity_graph",
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
    "path_maxima",
    "pool_labels",
    "random_walk",
    "random_walks",
    "self_guided_filter",
    "spatial_propagation",
    "to_dense",
    "unary_from_labels",
]
