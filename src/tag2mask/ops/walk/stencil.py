"""The random walk as a compiled stencil on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.ops.pairs import pair_mask, source_windows
from tag2mask.ops.walk.graph import AffinityGraph
from tag2mask.ops.walk.kernels import walk_kernel


def walk_stencil(graph: AffinityGraph, state: Tensor, beta: float, coefficients: Sequence[float]) -> Tensor:
    """sum_k c_k T_k(P) x as `WalkStencil.walk`, for one graph on the CPU; one thread, without the GIL.

    Args:
        graph: on the CPU.
        state: (K, N) maps x, in the dtype of the graph.
        beta: power of the affinities.
        coefficients: c_0, c_1, ...

    Returns:
        (K, N).
    """
    where = (*graph.size, graph.radius, graph.border)
    windows = source_windows(*where)
    shifts = windows[:, 0] * graph.size[1] + windows[:, 1]
    margin = int(shifts.max())
    weights = graph.weights(beta).mul_(pair_mask(*where))
    planes = F.pad(weights.flatten(1), (margin, margin)).numpy()
    padded = F.pad(state, (margin, margin)).numpy()
    walked = torch.empty_like(state, memory_format=torch.contiguous_format)
    walk_kernel(planes, shifts, padded, np.array(coefficients, planes.dtype), walked.numpy())
    return walked
