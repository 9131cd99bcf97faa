"""Affinities between all cells of a feature map: N x N matrices, or work on stripes of them."""

from tag2mask.ops.all_pairs.features import (
    feature_distances,
    feature_transitions,
    feature_walk,
)

__all__ = ["feature_distances", "feature_transitions", "feature_walk"]
