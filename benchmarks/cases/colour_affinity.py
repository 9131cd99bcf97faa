"""The colour affinity loss, forward and backward, beside whole matrices with autograd."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Agreement, Case, Inputs
from benchmarks.reference.colour_affinity import colour_affinity_by_matrices
from tag2mask.losses import colour_affinity_loss

BATCH, SIDE = 8, 50  # the paper's grid

Result = tuple[float, Tensor]


def cases(inputs: Inputs) -> list[Case]:
    stack = np.stack(inputs.images(BATCH, SIDE, SIDE))
    images = torch.from_numpy(stack).permute(0, 3, 1, 2).float().contiguous()
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(BATCH, 3, SIDE, SIDE))).float()

    def with_gradient(loss_of: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], Result]:
        def run() -> Result:
            x = features.detach().requires_grad_()
            loss = loss_of(x, images)
            (gradient,) = torch.autograd.grad(loss, x)
            return float(loss.detach()), gradient

        return run

    return [
        Case(
            name="colour_affinity",
            piece=f"colour affinity loss, forward + backward, batch {BATCH}, {SIDE} x {SIDE} cells",
            reference="whole matrices and autograd",
            run_reference=with_gradient(colour_affinity_by_matrices),
            run_ours=with_gradient(colour_affinity_loss),
            agreement=_agreement,
            bar=2,
        )
    ]


def _agreement(expected: Result, result: Result) -> Agreement:
    value = abs(result[0] / expected[0] - 1)
    gradient = float((result[1] - expected[1]).norm() / expected[1].norm())
    # float32 sums over 2500 cells; a few pairs lie at the kink of |T - M|, where rounding chooses the side.
    return Agreement(f"value {value:.0e}, gradient {gradient:.0e} (relative)", max(value, gradient) < 1e-3)
