"""Random walk of class scores over an affinity graph, sparse and in few matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tag2mask.ops._block_walk import walk_blocks, weighted_entries
from tag2mask.ops._chebyshev import power_coefficients
from tag2mask.ops._stencil_walk import walk_stencils
from tag2mask.ops.pairs import Border, Engine, pair_distances, use_kernels


@dataclass(frozen=True, eq=False)
class AffinityGraph:
    """Affinities between the neighbouring cells of one feature map; make it with `affinity_graph`.

    Attributes:
        distances: (offsets, H, W) planes of the mean absolute feature difference of each pair,
            float32 or float64; the affinity is exp(-distance).
        radius: pairs are nearer than this many cells.
        border: ``"all"`` or ``"psa"``, see `affinity_graph`.
    """

    distances: Tensor
    radius: int
    border: Border

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the feature map."""
        return self.distances.shape[1], self.distances.shape[2]

    @torch.no_grad()
    def walk(
        self,
        maps: Tensor,
        beta: float = 8.0,
        steps: int = 256,
        tol: float = 1e-5,
        engine: Engine = "auto",
    ) -> Tensor:
        """Spread score maps along the affinities (Ahn and Kwak 2018, eq. 11 and 12).

        Applies the transition matrix P = D^-1 W^beta (element-wise power, diagonal 1) `steps` times.
        P has the spectrum of a symmetric matrix in [-1, 1], where x^t = sum_k c_k T_k(x) with
        Chebyshev polynomials T_k and c_k the probability that a fair +-1 walk of t steps ends at +-k.
        The sum stops when the rest is below `tol`: 70 products instead of 256 for 1e-5, with 69
        non-zeros a row, and never a dense matrix. On the CPU it runs on one thread without the GIL.

        Args:
            maps: (K, H, W) scores; on another device or of another dtype they are converted.
            beta: power of the affinities, above 0; larger keeps scores more inside edges.
            steps: number of steps t, from 1 to 2^20.
            tol: bound on the error, relative to the scores in the norm weighted by node degree.
            engine: ``"numba"`` (stencil, CPU only), ``"torch"`` (sparse CSR), or ``"auto"``.

        Returns:
            (K, H, W) in the dtype and on the device of the graph, each map within the bounds of its
            input. A constant map stays as it is.

        Raises:
            ValueError: maps of another size or with NaN or infinity; a `beta` that is not above 0, a
                `tol` outside (0, 1), or `steps` outside their range.

        Example:
            >>> graph = affinity_graph(torch.zeros(1, 2, 2))
            >>> graph.walk(torch.tensor([[[4.0, 0.0], [0.0, 0.0]]]), steps=2)
            tensor([[[1., 1.],
                     [1., 1.]]])
        """
        return walk_batch([self], [maps], beta, steps, tol, engine)[0]

    def to_dense(self, beta: float = 1.0) -> Tensor:
        """The N x N matrix of affinities to the power beta, N = H * W; for small maps and tests.

        Example:
            >>> affinity_graph(torch.zeros(1, 1, 2)).to_dense()
            tensor([[1., 1.],
                    [1., 1.]])
        """
        _check_beta(beta)
        pattern, values = weighted_entries([self], beta)
        return pattern.matrix(values).to_dense()


@torch.no_grad()
def walk_batch(
    graphs: Sequence[AffinityGraph],
    maps: Sequence[Tensor],
    beta: float = 8.0,
    steps: int = 256,
    tol: float = 1e-5,
    engine: Engine = "auto",
) -> list[Tensor]:
    """`AffinityGraph.walk` of several images at once; they may differ in size and number of maps.

    On a GPU the graphs become the blocks of one sparse matrix, so that each of the 70 products is one
    launch for the whole batch. On the CPU the images are spread over the threads that torch may use.

    Args:
        graphs: one per image, all on one device and of one dtype.
        maps: for each graph its score maps (K, H, W).
        beta: see `AffinityGraph.walk`.
        steps: see `AffinityGraph.walk`.
        tol: see `AffinityGraph.walk`.
        engine: ``"numba"`` (stencil, CPU only), ``"torch"`` (block-diagonal CSR), or ``"auto"``.

    Returns:
        for each image its maps (K, H, W) after the walk.

    Raises:
        ValueError: as `AffinityGraph.walk`; lists of different lengths; graphs on several devices or
            of several dtypes; more entries than 32-bit indices can count.

    Example:
        >>> graphs = affinity_graphs(torch.zeros(2, 1, 2, 2))
        >>> [m.unique() for m in walk_batch(graphs, [torch.ones(1, 2, 2), torch.zeros(3, 2, 2)])]
        [tensor([1.]), tensor([0.])]
    """
    coefficients = power_coefficients(steps, tol)
    _check_beta(beta)
    states = _states(graphs, maps)
    if not graphs:
        return []
    walk = walk_stencils if use_kernels(engine, graphs[0].distances) else walk_blocks
    walked = walk(graphs, states, beta, coefficients)
    return [_within(w, s).reshape(m.shape) for w, s, m in zip(walked, states, maps, strict=True)]


def _states(graphs: Sequence[AffinityGraph], maps: Sequence[Tensor]) -> list[Tensor]:
    """Checked maps as (K, N) in the dtype and on the device of the graphs."""
    if len(graphs) != len(maps):
        raise ValueError(f"maps must be one tensor per graph, got {len(maps)} for {len(graphs)} graphs")
    if len({(graph.distances.device, graph.distances.dtype) for graph in graphs}) > 1:
        raise ValueError("graphs must lie on one device and have one dtype")
    states = []
    for graph, m in zip(graphs, maps, strict=True):
        if m.ndim != 3 or tuple(m.shape[1:]) != graph.size:
            raise ValueError(f"maps must be (K, {graph.size[0]}, {graph.size[1]}), got {tuple(m.shape)}")
        state = m.to(graph.distances).flatten(1)
        if not bool(state.isfinite().all()):
            raise ValueError("maps holds NaN or infinity")
        states.append(state)
    return states


def _within(walked: Tensor, state: Tensor) -> Tensor:
    # The exact walk takes averages; what lies outside their bounds is truncation error.
    bounds = state.aminmax(dim=1, keepdim=True)
    return walked.clamp(bounds.min, bounds.max)


def _check_beta(beta: float) -> None:
    if not beta > 0 or not math.isfinite(beta):
        raise ValueError(f"beta must be above 0, got {beta}")


def affinity_graph(features: Tensor, radius: int = 5, border: Border = "all") -> AffinityGraph:
    """Affinities exp(-mean |f_i - f_j|) between the cells of a map that are nearer than `radius`.

    The mean is over the C channels, as in PSA's code (its paper, Ahn and Kwak 2018, eq. 3, has the
    sum): beta of `AffinityGraph.walk` is meant for the mean.

    Args:
        features: (C, H, W) floating point, from 2 x 2 cells on, CPU or CUDA; bfloat16 is computed as
            float32.
        radius: pairs have a distance below this many cells.
        border: ``"all"`` takes each pair inside the map. ``"psa"`` takes PSA's published set: pairs
            whose source (the first cell in row-major order) does not lie in the last radius-1 rows
            nor in the outer radius-1 columns on both sides.

    Returns:
        the graph, without gradient.

    Raises:
        ValueError: features of another shape, without floats, or with NaN or infinity; an unknown
            `border`; a map too small for ``"psa"``.

    Example:
        >>> graph = affinity_graph(torch.zeros(3, 9, 9))
        >>> int(graph.to_dense()[40].sum())
        69
    """
    if features.ndim != 3:
        raise ValueError(f"features must be (C, H, W), got {tuple(features.shape)}")
    return affinity_graphs(features[None], radius, border)[0]


def affinity_graphs(features: Tensor, radius: int = 5, border: Border = "all") -> list[AffinityGraph]:
    """`affinity_graph` of each map of a batch, for `walk_batch`.

    Args:
        features: (B, C, H, W), see `affinity_graph`.
        radius: see `affinity_graph`.
        border: see `affinity_graph`.

    Returns:
        B graphs, without gradient.

    Raises:
        ValueError: as `affinity_graph`.

    Example:
        >>> [graph.size for graph in affinity_graphs(torch.zeros(2, 3, 4, 6))]
        [(4, 6), (4, 6)]
    """
    with torch.no_grad():
        distances = pair_distances(features, radius, border)
    if not bool(distances.isfinite().all()):
        raise ValueError("features holds NaN or infinity")
    return [AffinityGraph(planes, radius, border) for planes in distances]
