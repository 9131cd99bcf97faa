"""The random walk as sparse matrix products, for one graph or many; see `tag2mask.ops.random_walk`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.ops._csr_pattern import CsrPattern, block_diagonal, csr_pattern

if TYPE_CHECKING:
    from tag2mask.ops.random_walk import AffinityGraph


def walk_blocks(
    graphs: Sequence[AffinityGraph], states: Sequence[Tensor], beta: float, coefficients: Sequence[float]
) -> list[Tensor]:
    """sum_k c_k T_k(P) x with the P of all graphs as the blocks of one matrix.

    A step is then one product, thus one launch on a GPU, however many graphs there are.

    Args:
        graphs: at least one, on one device and of one dtype; they may differ in size.
        states: for each graph its maps (K, N); K may differ.
        beta: power of the affinities.
        coefficients: c_0, c_1, ...

    Returns:
        for each graph the maps (K, N) after the walk.
    """
    most = max(1, *(len(state) for state in states))
    columns = [F.pad(state.t(), (0, most - len(state))) for state in states]
    walked = _chebyshev(_transition(graphs, beta), torch.cat(columns), coefficients)
    pieces = torch.split(walked, [len(c) for c in columns])
    return [piece[:, : len(state)].t() for piece, state in zip(pieces, states, strict=True)]


def weighted_entries(graphs: Sequence[AffinityGraph], beta: float) -> tuple[CsrPattern, Tensor]:
    """Pattern and values of the block-diagonal matrix of affinities to the power beta."""
    device = graphs[0].distances.device
    patterns = [csr_pattern(*g.size, g.radius, g.border, device) for g in graphs]
    pattern = block_diagonal(patterns, [g.distances.numel() for g in graphs])
    one = graphs[0].distances.new_ones(1)
    planes = torch.cat([t for g in graphs for t in (g.distances.mul(-beta).exp_().flatten(), one)])
    return pattern, planes.index_select(0, pattern.places)


def _transition(graphs: Sequence[AffinityGraph], beta: float) -> Tensor:
    pattern, values = weighted_entries(graphs, beta)
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
