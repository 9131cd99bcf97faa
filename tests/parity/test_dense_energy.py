"""The dense energy loss against loops over pairs of pixels, and its ways to filter against each other."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tag2mask.losses import dense_energy_loss
from tag2mask.ops.lattice import bilateral
from tag2mask.ops.lattice.bilateral import bilateral_sums
from tag2mask.ops.lattice.permutohedral import build_lattice
from tests.plain_lattice import dense_matrix

SIGMAS = (20.0, 6.0)  # colour, position


def problem(side: int = 8, classes: int = 3, batch: int = 2, dtype: torch.dtype = torch.float64):
    """Images with soft edges, probabilities, labels of all kinds, and padding in the last column."""
    generator = torch.Generator().manual_seed(side)
    coarse = torch.rand(batch, 3, side // 4, side // 4, generator=generator) * 200
    images = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    images = (images + 20 * torch.rand(images.shape, generator=generator)).round().to(dtype)
    probs = torch.randn(batch, classes, side, side, generator=generator).softmax(1).to(dtype)
    labels = torch.randint(0, classes, (batch, side, side), generator=generator)
    labels[:, : side // 2] = 255
    roi = torch.ones(batch, side, side)
    roi[1:, :, -1] = 0
    return images, probs, labels, roi


def weights_by_definition(image: Tensor, sigma_rgb: float, sigma_xy: float) -> np.ndarray:
    """(N, N) Gaussian of one image, one pair of pixels at a time."""
    height, width = image.shape[1:]
    pixels = list(itertools.product(range(height), range(width)))
    matrix = np.empty((len(pixels), len(pixels)))
    for i, (y, x) in enumerate(pixels):
        for j, (v, u) in enumerate(pixels):
            colour = float((image[:, y, x] - image[:, v, u]).square().sum())
            place = (y - v) ** 2 + (x - u) ** 2
            matrix[i, j] = math.exp(-colour / (2 * sigma_rgb**2) - place / (2 * sigma_xy**2))
    return matrix


def weights_of_lattice(image: Tensor, sigma_rgb: float, sigma_xy: float) -> np.ndarray:
    """(N, N) matrix slice * blur * ... * splat of one image's lattice, times 1 / (1 + 2^-5)."""
    height, width = image.shape[1:]
    y, x = np.mgrid[:height, :width]
    rows = [x / sigma_xy, y / sigma_xy, *(image.numpy() / sigma_rgb)]
    return dense_matrix(build_lattice(np.stack(rows).reshape(5, -1).astype(np.float32))) * 32 / 33


def energy_by_loops(images, probs, labels, roi, matrices) -> tuple[float, np.ndarray]:
    """Value and gradient as recipes write them, pixel by pixel, for given weights (N, N) of each image."""
    batch, classes, height, width = probs.shape
    value, gradient = 0.0, np.zeros(probs.shape)
    for b in range(batch):
        s = (probs[b] * roi[b]).numpy().reshape(classes, -1)
        for i, (y, x) in enumerate(itertools.product(range(height), range(width))):
            inside = float(roi[b, y, x])
            unsure = max(0.0, inside - float(probs[b, :, y, x].max()))
            gate = 1.0 if int(labels[b, y, x]) == 255 else unsure
            summed = s @ matrices[b][i]
            value -= gate * float(s[:, i] @ summed) / batch
            gradient[b, :, y, x] = -2 * gate * summed * inside / batch
    return value, gradient


def loss_and_gradient(images, probs, labels, roi, **settings) -> tuple[float, np.ndarray]:
    x = probs.clone().requires_grad_()
    loss = dense_energy_loss(images, x, labels, roi, **settings)
    (gradient,) = torch.autograd.grad(loss, x)
    return float(loss.detach()), gradient.double().cpu().numpy()


def test_exact_value_and_gradient_equal_the_loops():
    data = problem()
    matrices = [weights_by_definition(image, *SIGMAS) for image in data[0]]
    value, gradient = energy_by_loops(*data, matrices)
    settings = {"sigma_rgb": SIGMAS[0], "sigma_xy": SIGMAS[1], "scale": 1, "method": "exact"}
    ours, slope = loss_and_gradient(*data, **settings)
    # float64 on both sides; only the order of the sums differs.
    assert ours == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(slope, gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_lattice_value_and_gradient_equal_the_loops_over_its_matrix(engine):
    data = problem(dtype=torch.float32)
    matrices = [weights_of_lattice(image, *SIGMAS) for image in data[0]]
    value, gradient = energy_by_loops(*data, matrices)
    settings = {"sigma_rgb": SIGMAS[0], "sigma_xy": SIGMAS[1], "scale": 1, "engine": engine}
    ours, slope = loss_and_gradient(*data, **settings)
    # float32 sums of some hundred products.
    assert ours == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(slope, gradient, rtol=1e-4, atol=1e-5)


def test_half_scale_takes_each_second_pixel_and_the_mean_of_probabilities():
    images, probs, labels, roi = problem(16)
    means = probs.unflatten(3, (8, 2)).unflatten(2, (8, 2)).mean((3, 5))
    small = (images[..., ::2, ::2], means, labels[:, ::2, ::2], roi[:, ::2, ::2])
    settings = {"sigma_rgb": 20, "method": "exact"}
    value, gradient = loss_and_gradient(*small, sigma_xy=3, scale=1, **settings)
    ours, slope = loss_and_gradient(images, probs, labels, roi, sigma_xy=6, scale=0.5, **settings)
    assert ours == pytest.approx(value, rel=1e-12)  # float64
    spread = gradient.repeat(2, axis=2).repeat(2, axis=3) / 4
    np.testing.assert_allclose(slope, spread, rtol=1e-12, atol=1e-12)


def test_gradcheck_where_the_gate_is_constant():
    # Nothing labelled: g = 1. Elsewhere the gradient is not the derivative by definition: the gate takes
    # none, and A diag(g) counts as symmetric; there it is compared with its formula, above and below.
    images, probs, labels, roi = problem(4, batch=2)
    labels.fill_(255)
    assert torch.autograd.gradcheck(
        lambda x: dense_energy_loss(images, x, labels, roi, *SIGMAS, scale=1, method="exact"),
        (probs.requires_grad_(),),
    )


def test_gradient_with_a_gate_is_twice_the_difference_with_gate_and_sums_held():
    images, probs, labels, roi = problem(4, batch=1)
    settings = {"sigma_rgb": SIGMAS[0], "sigma_xy": SIGMAS[1], "scale": 1, "method": "exact"}
    _, slope = loss_and_gradient(images, probs, labels, roi, **settings)
    matrix = torch.from_numpy(weights_by_definition(images[0], *SIGMAS))
    held = (probs[0].flatten(1) @ matrix.t()).reshape(probs[0].shape)
    gate = torch.where(labels == 255, 1.0, (roi - probs.amax(1)).clamp(min=0))
    step = 1e-3

    def value(x: Tensor) -> float:
        return -float((gate * x * held).sum())

    for place in itertools.product(range(3), range(4), range(4)):
        ahead, behind = probs.clone(), probs.clone()
        ahead[(0, *place)] += step
        behind[(0, *place)] -= step
        # Linear in x, so that a difference is exact up to rounding, 1e-16 / 1e-3.
        assert 2 * (value(ahead) - value(behind)) / (2 * step) == pytest.approx(slope[(0, *place)], abs=1e-9)


def test_chunks_of_the_exact_sum_do_not_change_it(monkeypatch):
    images, probs, _, _ = problem()
    whole = bilateral_sums(images, probs, *SIGMAS, method="exact")
    monkeypatch.setattr(bilateral, "_PAIRS", 5 * 64)  # chunks of 5 rows, the last of 4
    parts = bilateral_sums(images, probs, *SIGMAS, method="exact")
    assert torch.allclose(parts, whole, rtol=1e-13, atol=0)  # float64; BLAS may sum in another order
    matrix = torch.from_numpy(weights_by_definition(images[0], *SIGMAS))
    assert torch.allclose(whole[0].flatten(1), probs[0].flatten(1) @ matrix.t(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ["textured", "gray", "flat", "noise"])
def test_both_lattices_are_one(kind):
    images, probs, _, _ = problem(40, classes=5, batch=3, dtype=torch.float32)
    if kind == "gray":
        images = images[:, :1].expand_as(images)
    elif kind == "flat":
        images = torch.full_like(images, 128)
    elif kind == "noise":
        images = torch.randint(0, 256, images.shape, generator=torch.Generator().manual_seed(0)).float()
    compiled = bilateral_sums(images, probs, 15, 20, engine="numba")
    torched = bilateral_sums(images, probs, 15, 20, engine="torch")
    # float32 sums in another order. A point in another simplex would change some by per cents.
    assert float((compiled - torched).abs().max()) < 2e-6 * float(compiled.abs().max())


def test_images_of_a_batch_do_not_touch_each_other_in_the_torch_lattice():
    images, probs, _, _ = problem(24, batch=3, dtype=torch.float32)
    together = bilateral_sums(images, probs, *SIGMAS, engine="torch")
    for index in range(3):
        one = slice(index, index + 1)
        alone = bilateral_sums(images[one], probs[one], *SIGMAS, engine="torch")
        assert torch.allclose(together[one], alone, rtol=1e-5)  # float32 sums


def _assert_published_scale(images: Tensor, probs: Tensor) -> None:
    args = (images, probs, torch.full(images[:, 0].shape, 255), torch.ones(images[:, 0].shape), 15, 50, 1)
    ratio = float(dense_energy_loss(*args)) / float(dense_energy_loss(*args, method="exact"))
    # What the lattice's lower peak leaves; images with few colours are near the lower end.
    assert 0.5 < ratio < 0.7


def test_a_lattice_returns_part_of_the_exact_energy():
    images, probs, _, _ = problem(64, batch=1, dtype=torch.float32)
    _assert_published_scale(images, probs)


@pytest.mark.real
def test_a_lattice_returns_part_of_the_exact_energy_of_real_images(animals: Path):
    for path in sorted((animals / "JPEGImages").glob("*.jpg"))[:200:100]:
        array = np.array(Image.open(path).convert("RGB").resize((80, 80)))
        images = torch.from_numpy(array).permute(2, 0, 1)[None].float()
        _assert_published_scale(images, problem(80, batch=1, dtype=torch.float32)[1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", ["lattice", "exact"])
def test_gpu_equals_cpu(method):
    data = problem(64, classes=21, dtype=torch.float32)
    value, gradient = loss_and_gradient(*data, method=method)
    ours, slope = loss_and_gradient(*(tensor.cuda() for tensor in data), method=method)
    # A device may divide by multiplying with the inverse: one unit in the last place of a coordinate, which
    # moves a point on the border of two simplices across it, where both give nearly the same weights.
    assert ours == pytest.approx(value, rel=1e-4)
    assert np.abs(slope - gradient).max() < 1e-3 * np.abs(gradient).max()
