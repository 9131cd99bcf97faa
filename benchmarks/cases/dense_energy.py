"""The dense energy loss, forward and backward, beside a plain lattice that filters class by class."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Agreement, Case, Inputs
from benchmarks.reference.dense_energy import dense_energy
from tag2mask.losses import dense_energy_loss

BATCH, CLASSES, SIDE = 8, 21, 160  # a batch of crops of 321 at scale 0.5
SIGMA_RGB, SIGMA_XY = 15, 50

Result = tuple[float, Tensor]


def cases(inputs: Inputs) -> list[Case]:
    images, probs, labels, roi = _problem(inputs)

    def ours() -> Result:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as many as the reference has
        try:
            x = probs.detach().requires_grad_()
            loss = dense_energy_loss(images, x, labels, roi, SIGMA_RGB, SIGMA_XY, scale=1)
            (gradient,) = torch.autograd.grad(loss, x)
        finally:
            torch.set_num_threads(threads)
        return float(loss.detach()), gradient

    return [
        Case(
            name="dense_energy",
            piece=f"dense energy loss, forward + backward, {BATCH} x {CLASSES} x {SIDE} x {SIDE}, one thread",
            reference="plain lattice in numba, class by class",
            run_reference=lambda: dense_energy(images, probs, labels, roi, SIGMA_RGB, SIGMA_XY),
            run_ours=ours,
            agreement=_agreement,
            bar=1.5,
        )
    ]


def _problem(inputs: Inputs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, smooth probabilities, labels on the upper half and a strip of padding."""
    rng = np.random.default_rng(0)
    stack = np.stack(inputs.images(BATCH, SIDE, SIDE))
    images = torch.from_numpy(stack).permute(0, 3, 1, 2).float().contiguous()
    logits = torch.from_numpy(rng.normal(size=(BATCH, CLASSES, 10, 10)) * 3).float()
    probs = torch.nn.functional.interpolate(logits, (SIDE, SIDE), mode="bilinear").softmax(1)
    labels = probs.argmax(1)
    labels[:, SIDE // 2 :] = 255
    roi = torch.ones(BATCH, SIDE, SIDE)
    roi[:, :, -SIDE // 8 :] = 0
    return images, probs, labels, roi


def _agreement(expected: Result, result: Result) -> Agreement:
    value = abs(result[0] / expected[0] - 1)
    gradient = float((result[1] - expected[1]).abs().max() / expected[1].abs().max())
    # float32 sums in another order: 1e-6 of the largest number.
    return Agreement(f"value {value:.0e}, gradient {gradient:.0e} (relative)", max(value, gradient) < 1e-5)
