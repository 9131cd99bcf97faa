"""The matrix of affinities in sparse and in dense form, and the random walk as sparse matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tag2mask.ops.walk.csr import CsrPattern, csr_pattern
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
    pattern, values = _entries(graph, beta)
    return pattern.matrix(values).to_dense()


def walk_products(graph: AffinityGraph, state: Tensor, beta: float, coefficients: Sequence[float]) -> Tensor:
    """sum_k c_k T_k(P) x by sparse matrix products, on any device.

    Args:
        graph: from `affinity_graph`.
        state: (K, N) maps x, in the dtype and on the device of the graph.
        beta: power of the affinities.
        coefficients: c_0, c_1, ...

    Returns:
        (K, N).
    """
    return _chebyshev(_transition(graph, beta), state.t().contiguous(), coefficients).t()


def _entries(graph: AffinityGraph, beta: float) -> tuple[CsrPattern, Tensor]:
    """Pattern and values of the matrix of affinities to the power beta."""
    pattern = csr_pattern(*graph.size, graph.radius, graph.border, graph.distances.device)
    weights = graph.weights(beta).flatten()
    return pattern, torch.cat([weights, weights.new_ones(1)]).index_select(0, pattern.places)


def _transition(graph: AffinityGraph, beta: float) -> Tensor:
    """P = D^-1 W^beta."""
    pattern, values = _entries(graph, beta)
    degree = pattern.matrix(values) @ values.new_ones(pattern.per_row.numel(), 1)
    scale = degree.reciprocal().flatten()
    return pattern.matrix(values * scale.repeat_interleave(pattern.per_row, output_size=values.numel()))


def _chebyshev(transition: Tensor, state: Tensor, coefficients: Sequence[float]) -> Tensor:
    """sum_k c_k T_k(P) x for x (N, K), by T_k+1 = 2 P T_k - T_k-1."""
    total = state * coefficients[0]
    previous, current = state, transition @ state
    for k, coefficient in enumerate(coefficients[1:], start=1):
        if k > 1:
            previous, current = current, torch.addmm(previous, transition, current, beta=-1, alpha=2)
        if coefficient:
            total.add_(current, alpha=coefficient)
    return total
