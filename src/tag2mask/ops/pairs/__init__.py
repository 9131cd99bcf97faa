"""Pairs of neighbouring cells of a map, and the distances of their features."""

from tag2mask.ops.pairs.distances import pair_distances
from tag2mask.ops.pairs.neighbours import Border, half_plane_offsets, pair_mask, shifted, source_windows

__all__ = ["Border", "half_plane_offsets", "pair_distances", "pair_mask", "shifted", "source_windows"]
