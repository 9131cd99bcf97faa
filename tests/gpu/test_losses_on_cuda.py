"""Losses and their gradients on a CUDA device against the same on the CPU."""

from __future__ import annotations

import pytest
import torch

from tag2mask.losses import (
    affinity_loss,
    boundary_loss,
    colour_affinity_loss,
    dense_energy_loss,
    region_smoothness_loss,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def patches() -> torch.Tensor:
    """Labels (2, 16, 18) of background, two classes and neutral."""
    drawn = torch.randint(5, (2, 16, 18), generator=torch.Generator().manual_seed(0))
    return torch.tensor([0, 0, 1, 2, 255])[drawn]


def assert_same(run, device, x: torch.Tensor, bar: float) -> None:
    """Value and gradient by the norm of the difference, relative to the CPU's."""
    found = []
    for there in (torch.device("cpu"), device):
        at = x.to(there).requires_grad_()
        loss = run(at)
        assert loss.device.type == there.type
        found.append([loss.detach().cpu(), torch.autograd.grad(loss, at)[0].cpu()])
    for expected, result in zip(*found, strict=True):
        assert expected.norm() > 0
        assert (result - expected).norm() <= bar * expected.norm()


@pytest.mark.parametrize("border", ["all", "psa"])
def test_affinity(device, border):
    labels = patches()

    def run(x: torch.Tensor) -> torch.Tensor:
        return affinity_loss(x, labels.to(x.device), border=border)[0]

    # float64; the CPU has a kernel of its own, the card sums planes
    assert_same(run, device, noise(2, 8, 16, 18), 1e-9)


@pytest.mark.parametrize("border", ["all", "psa"])
def test_boundary(device, border):
    labels = patches()

    def run(x: torch.Tensor) -> torch.Tensor:
        return boundary_loss(x.sigmoid(), labels.to(x.device), 5, border)[0]

    assert_same(run, device, noise(2, 16, 18), 1e-9)


@pytest.mark.parametrize(
    ("loss_of", "shape"),
    [
        (affinity_loss, (2, 8, 16, 18)),
        (lambda x, labels: boundary_loss(x.sigmoid(), labels, 5), (2, 16, 18)),
    ],
)
def test_losses_of_pairs_in_half_precision_are_finite(device, loss_of, shape):
    labels = torch.zeros(2, 16, 18, dtype=torch.long, device=device)
    for kind in (torch.bfloat16, torch.float16):
        x = (noise(*shape) * 100).to(device, kind).requires_grad_()
        loss = loss_of(x, labels)[0]
        assert loss.isfinite() and torch.autograd.grad(loss, x)[0].isfinite().all()


@pytest.mark.parametrize(("method", "bar"), [("exact", 1e-9), ("lattice", 1e-4)])
def test_dense_energy(device, method, bar):
    """The lattice computes in float32: sums in another order."""
    images = torch.randint(0, 256, (2, 3, 24, 32), generator=torch.Generator().manual_seed(0)).double()
    labels = torch.randint(0, 3, (2, 24, 32), generator=torch.Generator().manual_seed(1))
    labels[:, :, :16] = 255
    roi = torch.ones(2, 24, 32)
    roi[0, -4:] = 0

    def run(probs: torch.Tensor) -> torch.Tensor:
        beside = [t.to(probs.device) for t in (images, labels, roi)]
        return dense_energy_loss(beside[0], probs, beside[1], beside[2], method=method)

    assert_same(run, device, noise(2, 3, 24, 32).mul(2).softmax(1), bar)


@pytest.mark.parametrize("reading", ["rows", "raw", "literal"])
def test_colour_affinity(device, reading):
    images = noise(2, 3, 7, 8, seed=1).abs() * 50
    run = lambda f: colour_affinity_loss(f, images.to(f.device), reading)  # noqa: E731
    assert_same(run, device, noise(2, 3, 7, 8), 1e-9)


def test_region_smoothness(device):
    superpixels = torch.randint(-1, 6, (2, 12, 16), generator=torch.Generator().manual_seed(0))
    run = lambda g: region_smoothness_loss(g, superpixels.to(g.device))  # noqa: E731
    assert_same(run, device, noise(2, 4, 3, 2, 6, 8), 1e-9)
