"""Pairs of neighbouring cells of a map: distances of their features, and what lies between them."""

from tag2mask.ops.pairs.distances import pair_distances
from tag2mask.ops.pairs.neighbours import Border, half_plane_offsets, pair_mask, shifted, source_windows
from tag2mask.ops.pairs.paths import path_cells, path_maxima

__all__ = [
    "Border",
    "half_plane_offsets",
    "pair_distances",
    "pair_mask",
    "path_cells",
    "path_maxima",
    "shifted",
    "source_windows",
]
