"""Spatial propagation in four directions, forward and backward, beside an autograd scan."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.harness import Agreement, Case, Inputs
from benchmarks.reference.spatial_propagation import spatial_propagation_by_autograd
from tag2mask.ops import spatial_propagation

SIDE, CHANNELS = 64, 32

Result = tuple[Tensor, ...]


def cases(inputs: Inputs) -> list[Case]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, CHANNELS, SIDE, SIDE, generator=generator).requires_grad_()
    gates = torch.randn(1, 4, 3, CHANNELS, SIDE, SIDE, generator=generator).requires_grad_()
    weights = torch.randn(1, 4, CHANNELS, SIDE, SIDE, generator=generator)

    def both_ways(propagate: Callable[[Tensor, Tensor], Tensor]) -> Result:
        out = propagate(x, gates)
        return out.detach(), *torch.autograd.grad(out, (x, gates), weights)

    return [
        Case(
            name="spatial_propagation",
            piece=f"spatial propagation, 4 directions, forward + backward, {SIDE} x {SIDE} x {CHANNELS}",
            reference="autograd scan",
            run_reference=lambda: both_ways(spatial_propagation_by_autograd),
            run_ours=lambda: both_ways(spatial_propagation),
            agreement=_agreement,
            bar=2.5,
        )
    ]


def _agreement(expected: Result, result: Result) -> Agreement:
    errors = [float((a - b).abs().max() / a.abs().max()) for a, b in zip(expected, result, strict=True)]
    # 64 float32 steps in another order: some 1e-6 of the largest number.
    text = f"output {errors[0]:.0e}, gradients {max(errors[1:]):.0e} (relative)"
    return Agreement(text, max(errors) < 2e-5)
