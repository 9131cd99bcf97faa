"""The random walk as a compiled stencil, image by image on the CPU; see `tag2mask.ops.random_walk`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.ops._threads import on_threads
from tag2mask.ops._walk_kernel import walk_kernel
from tag2mask.ops.pairs import pair_mask, source_windows

if TYPE_CHECKING:
    from tag2mask.ops.random_walk import AffinityGraph


def walk_stencils(
    graphs: Sequence[AffinityGraph], states: Sequence[Tensor], beta: float, coefficients: Sequence[float]
) -> list[Tensor]:
    """sum_k c_k T_k(P) x for each graph, one image a thread.

    Args:
        graphs: on the CPU; they may differ in size.
        states: for each graph its maps (K, N).
        beta: power of the affinities.
        coefficients: c_0, c_1, ...

    Returns:
        for each graph the maps (K, N) after the walk.
    """
    walked = [torch.empty_like(state, memory_format=torch.contiguous_format) for state in states]
    jobs = [(i,) for i in range(len(graphs))]
    on_threads(lambda i: _walk(graphs[i], states[i], beta, coefficients, walked[i]), jobs)
    return walked


@torch.no_grad()
def _walk(
    graph: AffinityGraph, state: Tensor, beta: float, coefficients: Sequence[float], out: Tensor
) -> None:
    where = (*graph.size, graph.radius, graph.border)
    windows = source_windows(*where)
    shifts = windows[:, 0] * graph.size[1] + windows[:, 1]
    margin = int(shifts.max())
    weights = graph.distances.mul(-beta).exp_().mul_(pair_mask(*where))
    planes = F.pad(weights.flatten(1), (margin, margin)).numpy()
    padded = F.pad(state, (margin, margin)).numpy()
    walk_kernel(planes, shifts, padded, np.array(coefficients, planes.dtype), out.numpy())
