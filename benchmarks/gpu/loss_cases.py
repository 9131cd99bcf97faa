"""The losses that run on a card, forward and backward, each beside a plain reference on the same card."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.agreements import close, share_of_exact
from benchmarks.gpu.operator_problems import FLOAT, energy_problem, label_patches
from benchmarks.gpu.piece import Piece
from benchmarks.harness import Inputs
from benchmarks.reference.affinity_loss import affinity_loss as gather_loss
from benchmarks.reference.boundary_loss import boundary_loss as gather_paths
from benchmarks.reference.colour_affinity import colour_affinity_by_matrices
from benchmarks.reference.dense_energy import dense_energy
from tag2mask.losses import affinity_loss, boundary_loss, colour_affinity_loss, dense_energy_loss


def affinity(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    batch, channels, side = (2, 16, 16) if quick else (8, 448, 56)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(batch, channels, side, side, generator=generator).to(device)
    labels = label_patches(batch, side, generator).to(device)
    return Piece(
        f"AffinityNet loss, forward + backward, {batch} x {channels} x {side} x {side}",
        "gather of pairs",
        lambda: _made_on(device, lambda x: gather_loss(x, labels), features),
        lambda: _value_and_gradient(lambda x: affinity_loss(x, labels)[0], features),
        close(1e-3),
        3 * features.numel() * FLOAT,
    )


def boundary(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    batch, side = (2, 24) if quick else (8, 112)
    generator = torch.Generator().manual_seed(0)
    boundaries = torch.rand(batch, side, side, generator=generator).to(device)
    labels = label_patches(batch, side, generator).to(device)
    return Piece(
        f"boundary loss of IRN, forward + backward, {batch} x {side} x {side}, radius 10",
        "gather of paths",
        lambda: _made_on(device, lambda x: gather_paths(x, labels), boundaries),
        lambda: _value_and_gradient(lambda x: boundary_loss(x, labels)[0], boundaries),
        close(1e-3),
    )


def energy(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    images, probs, labels, roi = energy_problem(inputs, device, quick)
    on_cpu = [t.cpu() for t in (images, probs, labels, roi)]
    return Piece(
        f"dense energy, forward + backward, {' x '.join(map(str, probs.shape))}",
        "plain lattice in numba on one core of the CPU",
        lambda: dense_energy(*on_cpu, 15, 50),
        lambda: _energy(images, probs, labels, roi, "lattice"),
        close(1e-4),
        3 * probs.numel() * FLOAT,
    )


def energy_exact(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    images, probs, labels, roi = energy_problem(inputs, device, quick)
    return Piece(
        f"dense energy by lattice beside the exact sum, {' x '.join(map(str, probs.shape))}",
        "ours, exact sum over all pairs",
        lambda: _energy(images, probs, labels, roi, "exact"),
        lambda: _energy(images, probs, labels, roi, "lattice"),
        share_of_exact,
        3 * probs.numel() * FLOAT,
    )


def colours(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    batch, side = (2, 12) if quick else (8, 50)
    stack = np.stack(inputs.images(batch, side, side))
    images = torch.from_numpy(stack).permute(0, 3, 1, 2).float().contiguous().to(device)
    features = torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    return Piece(
        f"colour affinity loss, forward + backward, batch {batch}, {side} x {side} cells",
        "whole matrices and autograd",
        lambda: _value_and_gradient(lambda x: colour_affinity_by_matrices(x, images), features),
        lambda: _value_and_gradient(lambda x: colour_affinity_loss(x, images), features),
        close(1e-3),
    )


def _energy(images: Tensor, probs: Tensor, labels: Tensor, roi: Tensor, method: Any) -> tuple[Tensor, Tensor]:
    return _value_and_gradient(
        lambda x: dense_energy_loss(images, x, labels, roi, 15, 50, scale=1, method=method), probs
    )


def _value_and_gradient(loss_of: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    x = at.detach().requires_grad_()
    loss = loss_of(x)
    (gradient,) = torch.autograd.grad(loss, x)
    return loss.detach(), gradient


def _made_on(device: torch.device, loss_of: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """The same for a reference that makes tensors without saying where."""
    with torch.device(device):
        return _value_and_gradient(loss_of, at)
