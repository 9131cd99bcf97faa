"""The random walk of class scores, sparse and in few products."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tag2mask.core import NotFiniteError
from tag2mask.ops.engine import Engine, use_kernels
from tag2mask.ops.walk.chebyshev import power_coefficients
from tag2mask.ops.walk.graph import AffinityGraph
from tag2mask.ops.walk.stencil import walk_stencil
from tag2mask.ops.walk.tensor_stencil import WalkStencil, images_at_once


@torch.no_grad()
def random_walk(
    graph: AffinityGraph,
    maps: Tensor,
    beta: float = 8.0,
    steps: int = 256,
    tol: float = 1e-5,
    engine: Engine = "auto",
) -> Tensor:
    """Spread score maps along the affinities (Ahn and Kwak 2018, eq. 11 and 12).

    Applies the transition matrix P = D^-1 W^beta `steps` times: element-wise power, diagonal 1, rows that
    sum to 1. P has the spectrum of a symmetric matrix, within [-1, 1]. There x^t = sum_k c_k T_k(x) with
    Chebyshev polynomials T_k, where c_k is the probability that a fair +-1 walk of t steps ends at +-k. The
    sum stops when the rest is below `tol`. For 1e-5 this takes 70 sparse products instead of 256, with 69
    non-zeros a row, and never a dense matrix. `random_walks` takes several images.

    Args:
        graph: from `affinity_graph`.
        maps: (K, H, W) scores; on another device or of another dtype than the graph they are converted.
        beta: power of the affinities, above 0; a larger one keeps scores more inside edges.
        steps: number of steps t, from 1 to 2^20.
        tol: bound on the error, in (0, 1), relative to the scores in the norm weighted by node degree.
        engine: ``"numba"`` (CPU only, one thread, without the GIL), ``"torch"`` (tensor operations), or
            ``"auto"``.

    Returns:
        (K, H, W) in the dtype and on the device of the graph, each map within the bounds of its input. A
        constant map stays as it is.

    Raises:
        ValueError: maps of another size or with NaN or infinity; `beta`, `steps` or `tol` outside its
            range; an unknown engine.

    Example:
        >>> from tag2mask.ops import affinity_graph
        >>> graph = affinity_graph(torch.zeros(1, 2, 2))
        >>> random_walk(graph, torch.tensor([[[4.0, 0.0], [0.0, 0.0]]]), steps=2)
        tensor([[[1., 1.],
                 [1., 1.]]])
    """
    return random_walks([graph], [maps], beta, steps, tol, engine)[0]


@torch.no_grad()
def random_walks(
    graphs: Sequence[AffinityGraph],
    maps: Sequence[Tensor],
    beta: float = 8.0,
    steps: int = 256,
    tol: float = 1e-5,
    engine: Engine = "auto",
) -> list[Tensor]:
    """`random_walk` of some images, whose sizes and numbers of maps may differ.

    With tensor operations, hence on a GPU, all images walk at once, in as many launches as one. On the CPU
    they walk one after the other.

    Args:
        graphs: from `affinity_graph`, of one radius, dtype and device.
        maps: (K, H, W) scores of each image.
        beta: see `random_walk`.
        steps: see `random_walk`.
        tol: see `random_walk`.
        engine: see `random_walk`.

    Returns:
        the walked maps of each image.

    Raises:
        ValueError: as `random_walk`; graphs and maps differ in number, or graphs in radius, dtype or device.

    Example:
        >>> from tag2mask.ops import affinity_graph
        >>> graphs = [affinity_graph(torch.zeros(1, 2, 2)), affinity_graph(torch.zeros(1, 1, 3))]
        >>> random_walks(graphs, [torch.zeros(0, 2, 2), torch.tensor([[[3.0, 0.0, 0.0]]])], steps=2)[1]
        tensor([[[1., 1., 1.]]])
    """
    if (
        len(graphs) != len(maps)
        or len({(g.radius, g.distances.dtype, g.distances.device) for g in graphs}) > 1
    ):
        raise ValueError(
            f"graphs must be of one radius, dtype and device and as many as maps, got {len(graphs)} graphs "
            f"and {len(maps)} maps"
        )
    states = [_state(graph, scores) for graph, scores in zip(graphs, maps, strict=True)]
    coefficients = power_coefficients(steps, tol)
    if graphs and use_kernels(engine, graphs[0].distances):
        walked = [
            walk_stencil(graph, state.flatten(1), beta, coefficients).view_as(state)
            for graph, state in zip(graphs, states, strict=True)
        ]
    else:
        walked = _walk_together(graphs, states, beta, coefficients)
    # The exact walk takes averages; what lies outside their bounds is truncation error.
    return [out.clamp(*_bounds(state)) for out, state in zip(walked, states, strict=True)]


def _state(graph: AffinityGraph, maps: Tensor) -> Tensor:
    if maps.ndim != 3 or tuple(maps.shape[1:]) != graph.size:
        raise ValueError(f"maps must be (K, {graph.size[0]}, {graph.size[1]}), got {tuple(maps.shape)}")
    state = maps.to(graph.distances)
    if not bool(state.isfinite().all()):
        raise NotFiniteError("maps holds NaN or infinity")
    return state


def _walk_together(
    graphs: Sequence[AffinityGraph], states: Sequence[Tensor], beta: float, coefficients: Sequence[float]
) -> list[Tensor]:
    walked: list[Tensor] = []
    count = max((len(state) for state in states), default=0)
    size = images_at_once(graphs, count) if graphs else 1
    for first in range(0, len(graphs), size):
        some, parts = graphs[first : first + size], states[first : first + size]
        stencil = WalkStencil(some, beta)
        canvas = parts[0].new_zeros(len(parts), count, stencil.height, stencil.width)
        for place, part in zip(canvas, parts, strict=True):
            place[: len(part), : part.shape[1], : part.shape[2]] = part
        for out, part in zip(stencil.walk(canvas, coefficients), parts, strict=True):
            walked.append(out[: len(part), : part.shape[1], : part.shape[2]])
    return walked


def _bounds(state: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest and the largest score of each map, (K, 1, 1)."""
    low, high = state.flatten(1).aminmax(dim=1)
    return low[:, None, None], high[:, None, None]
