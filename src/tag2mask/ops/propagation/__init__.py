"""Learned propagation of maps along rows and columns in four directions (Liu et al., NeurIPS 2017)."""

from tag2mask.ops.propagation.gates import normalise_gates
from tag2mask.ops.propagation.scan import spatial_propagation

__all__ = ["normalise_gates", "spatial_propagation"]
