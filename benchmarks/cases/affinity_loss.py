"""AffinityNet's loss, forward and backward, beside the gather of pairs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import Agreement, Case, Inputs
from benchmarks.reference.affinity_loss import affinity_loss as gather_loss
from tag2mask.losses import affinity_loss

BATCH, CHANNELS, SIDE = 8, 448, 56

Result = tuple[float, Tensor]


def cases(inputs: Inputs) -> list[Case]:
    features, labels = _problem()

    def reference() -> Result:
        return _value_and_gradient(gather_loss(x := features.detach().requires_grad_(), labels), x)

    def ours() -> Result:
        return _value_and_gradient(affinity_loss(x := features.detach().requires_grad_(), labels)[0], x)

    return [
        Case(
            name="affinity_loss",
            piece=f"AffinityNet loss, forward + backward, batch {BATCH}, {CHANNELS} x {SIDE} x {SIDE}",
            reference="gather of pairs",
            run_reference=reference,
            run_ours=ours,
            agreement=_agreement,
            bar=10,
            memory_bar_mb=300,
        )
    ]


def _problem() -> tuple[Tensor, Tensor]:
    """Random features; labels in patches of 8 cells, a quarter of them neutral."""
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(BATCH, CHANNELS, SIDE, SIDE)).astype(np.float32))
    patches = torch.from_numpy(rng.choice([0, 0, 1, 2, 255, 1, 0, 255], (BATCH, 1, SIDE // 8, SIDE // 8)))
    return features, F.interpolate(patches.float(), scale_factor=8).long()[:, 0]


def _value_and_gradient(loss: Tensor, features: Tensor) -> Result:
    (gradient,) = torch.autograd.grad(loss, features)
    return float(loss.detach()), gradient


def _agreement(expected: Result, result: Result) -> Agreement:
    value = abs(result[0] - expected[0])
    typical = _double_error()
    return Agreement(f"value {value:.0e}, gradient {typical:.0e} (float64)", value < 1e-4 and typical <= 1e-9)


def _double_error() -> float:
    """Largest gradient error of one image in float64, where rounding is out of the way."""
    features, labels = _problem()
    gradients = []
    for loss in (gather_loss, lambda x, y: affinity_loss(x, y)[0]):
        x = features[:1].double().requires_grad_()
        gradients.append(_value_and_gradient(loss(x, labels[:1]), x)[1])
    return float((gradients[0] - gradients[1]).abs().max())
