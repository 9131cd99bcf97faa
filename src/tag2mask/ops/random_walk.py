"""Random walk of class scores over an affinity graph, sparse and in few matrix products."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.ops._csr_pattern import CsrPattern, csr_pattern
from tag2mask.ops._walk_kernel import walk_kernel
from tag2mask.ops.pairs import Border, Engine, pair_distances, pair_mask, source_windows, use_kernels


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
            steps: number of steps t, at least 1.
            tol: bound on the error, relative to the scores in the norm weighted by node degree.
            engine: ``"numba"`` (stencil, CPU only), ``"torch"`` (sparse CSR), or ``"auto"``.

        Returns:
            (K, H, W) in the dtype and on the device of the graph, each map within the bounds of its
            input. A constant map stays as it is.

        Raises:
            ValueError: maps of another size or with NaN or infinity; `beta` or `tol` not above 0 or
                `tol` not below 1; `steps` below 1.

        Example:
            >>> graph = affinity_graph(torch.zeros(1, 2, 2))
            >>> graph.walk(torch.tensor([[[4.0, 0.0], [0.0, 0.0]]]), steps=2)
            tensor([[[1., 1.],
                     [1., 1.]]])
        """
        if maps.ndim != 3 or tuple(maps.shape[1:]) != self.size:
            raise ValueError(f"maps must be (K, {self.size[0]}, {self.size[1]}), got {tuple(maps.shape)}")
        if not beta > 0 or not math.isfinite(beta):
            raise ValueError(f"beta must be above 0, got {beta}")
        coefficients = power_coefficients(steps, tol)
        state = maps.to(self.distances).flatten(1)
        if not bool(state.isfinite().all()):
            raise ValueError("maps holds NaN or infinity")
        if state.numel() == 0:
            return state.reshape(maps.shape)
        compiled = use_kernels(engine, self.distances)
        walked = (self._walk_planes if compiled else self._walk_csr)(state, beta, coefficients)
        # The exact walk takes averages; what lies outside their bounds is truncation error.
        bounds = state.aminmax(dim=1, keepdim=True)
        return walked.clamp(bounds.min, bounds.max).reshape(maps.shape)

    def to_dense(self, beta: float = 1.0) -> Tensor:
        """The N x N matrix of affinities to the power beta, N = H * W; for small maps and tests.

        Example:
            >>> affinity_graph(torch.zeros(1, 1, 2)).to_dense()
            tensor([[1., 1.],
                    [1., 1.]])
        """
        pattern, values = self._entries(beta)
        return pattern.matrix(values).to_dense()

    def _entries(self, beta: float) -> tuple[CsrPattern, Tensor]:
        pattern = csr_pattern(*self.size, self.radius, self.border, self.distances.device)
        planes = self.distances.mul(-beta).exp_().flatten()
        padded = torch.cat([planes, planes.new_ones(1)])
        return pattern, padded.index_select(0, pattern.places)

    def _walk_planes(self, state: Tensor, beta: float, coefficients: tuple[float, ...]) -> Tensor:
        windows = source_windows(*self.size, self.radius, self.border)
        shifts = windows[:, 0] * self.size[1] + windows[:, 1]
        margin = int(shifts.max())
        weights = self.distances.mul(-beta).exp_().mul_(pair_mask(*self.size, self.radius, self.border))
        planes = F.pad(weights.flatten(1), (margin, margin)).numpy()
        walked = torch.empty_like(state, memory_format=torch.contiguous_format)
        walk_kernel(
            planes,
            shifts,
            F.pad(state, (margin, margin)).numpy(),
            np.array(coefficients, planes.dtype),
            walked.numpy(),
        )
        return walked

    def _walk_csr(self, state: Tensor, beta: float, coefficients: tuple[float, ...]) -> Tensor:
        return _chebyshev(self._transition(beta), state.t().contiguous(), coefficients).t()

    def _transition(self, beta: float) -> Tensor:
        pattern, values = self._entries(beta)
        degree = pattern.matrix(values) @ values.new_ones(pattern.per_row.numel(), 1)
        scale = degree.reciprocal().flatten()
        return pattern.matrix(values * scale.repeat_interleave(pattern.per_row, output_size=values.numel()))


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
    with torch.no_grad():
        distances = pair_distances(features[None], radius, border)[0]
    if not bool(distances.isfinite().all()):
        raise ValueError("features holds NaN or infinity")
    return AffinityGraph(distances, radius, border)


@lru_cache(maxsize=64)
def power_coefficients(steps: int, tol: float) -> tuple[float, ...]:
    """Chebyshev coefficients of x^steps, up to the degree whose rest is at most `tol`.

    c_k = 2^(1-t) * C(t, (t-k)/2) for k with the parity of t, c_0 halved; they are positive and sum
    to 1. The kept ones are scaled to sum to 1 again, so that a walk keeps constants.

    Args:
        steps: the power t, at least 1.
        tol: bound on the sum of the coefficients left out, in (0, 1).

    Returns:
        c_0, ..., c_m.

    Raises:
        ValueError: `steps` below 1 or no integer; `tol` not in (0, 1).

    Example:
        >>> [round(c, 9) for c in power_coefficients(2, 1e-9)]
        [0.5, 0.0, 0.5]
        >>> len(power_coefficients(256, 1e-5)) - 1
        70
    """
    if steps != int(steps) or steps < 1:
        raise ValueError(f"steps must be a whole number from 1 on, got {steps}")
    if not 0 < tol < 1:
        raise ValueError(f"tol must lie between 0 and 1, got {tol}")
    kept = [0.0] * (steps + 1)
    total = 0.0
    for k in range(steps % 2, steps + 1, 2):
        kept[k] = _coefficient(steps, k)
        total += kept[k]
        if 1 - total <= tol:
            kept = kept[: k + 1]
            break
    return tuple(c / total for c in kept)


def _coefficient(steps: int, k: int) -> float:
    ways = math.lgamma(steps + 1) - math.lgamma((steps - k) // 2 + 1) - math.lgamma((steps + k) // 2 + 1)
    value = math.exp((1 - steps) * math.log(2) + ways)
    return value / 2 if k == 0 else value


def _chebyshev(transition: Tensor, state: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """sum_k c_k T_k(P) x for x (N, K), by T_k+1 = 2 P T_k - T_k-1."""
    total = state * coefficients[0]
    previous, current = state, transition @ state
    for k, coefficient in enumerate(coefficients[1:], start=1):
        if k > 1:
            previous, current = current, torch.addmm(previous, transition, current, beta=-1, alpha=2)
        if coefficient:
            total.add_(current, alpha=coefficient)
    return total
