"""The random walk of class scores over affinities between neighbouring cells (Ahn and Kwak, CVPR 2018)."""

from tag2mask.ops.walk.dense import to_dense
from tag2mask.ops.walk.graph import AffinityGraph, affinity_graph
from tag2mask.ops.walk.walk import random_walk, random_walks

__all__ = ["AffinityGraph", "affinity_graph", "random_walk", "random_walks", "to_dense"]
