"""The matrix of affinities in dense form."""

from __future__ import annotations

import torch
from torch import Tensor

from tag2mask.ops.pairs import half_plane_offsets, pair_mask
from tag2mask.ops.walk.graph import AffinityGraph


@torch.no_grad()
def to_dense(graph: AffinityGraph, beta: float = 1.0) -> Tensor:
    """The whole matrix of affinities to the power `beta`; for small maps and tests.

    Args:
        graph: from `affinity_graph`.
        beta: power of the affinities, above 0.

    Returns:
        symmetric (N, N) for N = H * W cells in row-major order, in the dtype of the graph: 1 on the
        diagonal, 0 where two cells are no pair.

    Raises:
        ValueError: `beta` is not above 0.

    Example:
        >>> from tag2mask.ops import affinity_graph
        >>> to_dense(affinity_graph(torch.zeros(1, 1, 2)))
        tensor([[1., 1.],
                [1., 1.]])
    """
    weights = graph.weights(beta).flatten(1)
    there = pair_mask(*graph.size, graph.radius, graph.border).flatten(1).to(weights.device)
    steps = [dy * graph.size[1] + dx for dy, dx in half_plane_offsets(graph.radius)]
    offset, source = there.nonzero(as_tuple=True)
    partner = source + torch.tensor(steps, device=weights.device)[offset]
    matrix = torch.eye(weights.shape[1], dtype=weights.dtype, device=weights.device)
    matrix[source, partner] = matrix[partner, source] = weights[offset, source]
    return matrix
