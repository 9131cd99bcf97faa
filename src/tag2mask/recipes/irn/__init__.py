"""Class boundaries and the random walk that they stop (IRN; Ahn, Cho and Kwak, CVPR 2019)."""

from tag2mask.recipes.irn.network import BoundaryNet
from tag2mask.recipes.irn.walk import BoundaryWalk, boundary_graph

__all__ = ["BoundaryNet", "BoundaryWalk", "boundary_graph"]
