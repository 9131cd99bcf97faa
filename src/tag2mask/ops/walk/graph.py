"""Affinities between the neighbouring cells of a feature map."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tag2mask.core import NotFiniteError
from tag2mask.ops.pairs import Border, pair_distances


@dataclass(frozen=True, eq=False)
class AffinityGraph:
    """Affinities between the neighbouring cells of one feature map; made by `affinity_graph`.

    Attributes:
        distances: (offsets, H, W) planes of the mean absolute feature difference of each pair,
            float32 or float64; the affinity is exp(-distance).
        radius: cells nearer to each other than this form a pair.
        border: ``"all"`` or ``"psa"``, see `affinity_graph`.
    """

    distances: Tensor
    radius: int
    border: Border

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the feature map."""
        return self.distances.shape[1], self.distances.shape[2]

    def weights(self, beta: float) -> Tensor:
        """(offsets, H, W) affinities to the power `beta`; 1 where there is no pair.

        Raises:
            ValueError: `beta` is not above 0, or infinite.
        """
        if not beta > 0 or not math.isfinite(beta):
            raise ValueError(f"beta must be above 0, got {beta}")
        return self.distances.mul(-beta).exp_()


def affinity_graph(features: Tensor, radius: int = 5, border: Border = "all") -> AffinityGraph:
    """Affinities exp(-mean_c |f_i - f_j|) between the cells of a map that are nearer than `radius`.

    The mean is over the C channels, as in PSA's code; its paper (Ahn and Kwak 2018, eq. 3) has the sum.
    The default beta of `random_walk` is meant for the mean.

    Args:
        features: (C, H, W) floating point, at least 2 x 2 cells, CPU or CUDA; bfloat16 is computed as
            float32.
        radius: cells nearer to each other than this form a pair.
        border: ``"all"`` takes each pair inside the map. ``"psa"`` takes PSA's published set: pairs
            whose source (the first cell in row-major order) lies neither in the last radius-1 rows
            nor in the outer radius-1 columns on both sides.

    Returns:
        the graph, without gradient.

    Raises:
        ValueError: features of another shape, not floating point, or with NaN or infinity; an unknown
            `border`; a map too small for ``"psa"``.

    Example:
        >>> graph = affinity_graph(torch.zeros(3, 9, 9))
        >>> graph.size, len(graph.distances)
        ((9, 9), 34)
    """
    if features.ndim != 3:
        raise ValueError(f"features must be (C, H, W), got {tuple(features.shape)}")
    with torch.no_grad():
        distances = pair_distances(features[None], radius, border)[0]
    if not bool(distances.isfinite().all()):
        raise NotFiniteError("features holds NaN or infinity")
    return AffinityGraph(distances, radius, border)
