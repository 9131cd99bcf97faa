from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tag2mask.losses import ColourAffinityLoss, colour_affinity_loss

READINGS = ["rows", "raw", "literal"]


def problem(height: int = 3, width: int = 4, batch: int = 2, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, 3, height, width, generator=generator, dtype=torch.float64)
    return features, torch.randint(0, 256, (batch, 3, height, width), generator=generator)


def by_pairs(features: torch.Tensor, images: torch.Tensor, reading: str, norm: str) -> float:
    """The definition, one pair of cells at a time."""
    losses = []
    for maps, image in zip(features.flatten(2).tolist(), images.double().flatten(2).tolist(), strict=True):
        cells, colours = list(zip(*maps, strict=True)), list(zip(*image, strict=True))
        largest = max(math.dist(a, b) for a in colours for b in colours)
        divisor = math.sqrt(3) * 255 if norm == "range" else largest or 1
        total, n = 0.0, len(cells)
        for p in range(n):
            w = [math.exp(-math.dist(cells[p], cells[q])) for q in range(n)]
            m = [1 - math.dist(colours[p], colours[q]) / divisor for q in range(n)]
            if reading == "rows":
                total += sum(abs(w[q] / sum(w) - m[q] / sum(m)) for q in range(n)) / n
            elif reading == "raw":
                total += sum(abs(w[q] - m[q]) for q in range(n)) / n**2
            else:
                total += sum(abs(w[q] / sum(w) - m[q]) for q in range(n))
        losses.append(total)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("norm", ["image", "range"])
@pytest.mark.parametrize("reading", READINGS)
def test_every_reading_equals_the_loop(reading, norm):
    features, images = problem()
    found = float(colour_affinity_loss(features, images, reading, norm))
    # float64 against Python's own floats; colour distances pass through float32 (7 digits)
    assert found == pytest.approx(by_pairs(features, images, reading, norm), rel=1e-6)


@pytest.mark.parametrize("reading", READINGS)
def test_gradcheck(reading):
    features, images = problem()
    # steps of 1e-6 stay clear of the kinks of |T - M|
    assert torch.autograd.gradcheck(
        lambda x: colour_affinity_loss(x, images, reading), (features.requires_grad_(),)
    )


@pytest.mark.parametrize("norm", ["image", "range"])
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 3), (3, 5, 7), (5, 12, 16)])
def test_compiled_loops_equal_float64_matrices(shape, reading, norm):
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, *shape, generator=generator)
    features[1, :, -1] = features[1, :, 0]  # equal cells, where the slope is 0
    images = torch.randint(0, 256, (2, 3, *shape[1:]), generator=generator)
    results = []
    for x, engine in ((features.clone(), "numba"), (features.double(), "torch")):
        x.requires_grad_()
        loss = colour_affinity_loss(x, images, reading, norm, engine=engine)
        results.append((loss, *torch.autograd.grad(3 * loss, x)))
    # float32: rounding of sums over up to 192 cells; of the printed loss the slopes cancel to 0 nearly
    value = float(results[1][0].detach())
    for fast, exact in zip(*results, strict=True):
        scale = float(exact.detach().abs().max()) if reading != "literal" else value
        assert torch.allclose(fast.double(), exact, rtol=2e-5, atol=2e-5 * scale)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_compiled_loops_hide_no_nan(reading, wrong):
    features, images = problem(3, 5)
    features[1, 2, 1, 1] = wrong
    assert bool(colour_affinity_loss(features.float(), images, reading, engine="numba").isnan())


def test_compiled_loops_on_threads_are_the_same():
    features, images = problem(6, 6, batch=4)
    found = []
    for threads in (1, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        x = features.float().requires_grad_()
        loss = colour_affinity_loss(x, images)
        found.append((loss, *torch.autograd.grad(loss, x)))
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("reading", READINGS)
def test_blocks_do_not_change_the_numbers(reading, monkeypatch):
    features, images = problem(5, 6)
    results = []
    for size in (2**20, 7 * 2 * 30 * 8, 1):
        monkeypatch.setattr("tag2mask.ops.all_pairs.colour_blocks._BLOCK_BYTES", size)
        x = features.clone().requires_grad_()
        loss = colour_affinity_loss(x, images, reading)
        results.append((loss, *torch.autograd.grad(loss, x)))
    # float64 sums in another order
    for whole, *parts in zip(*results, strict=True):
        assert all(torch.allclose(whole, part, rtol=1e-12, atol=1e-14) for part in parts)


@pytest.mark.parametrize("size", [(1, 1), (9, 7)])
def test_a_flat_image_and_equal_cells_have_a_gradient(size):
    x = torch.zeros(2, 3, *size, requires_grad=True)
    loss = colour_affinity_loss(x, torch.full((2, 3, *size), 9), engine="torch")
    (slopes,) = torch.autograd.grad(loss, x)
    # float32
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6) and not slopes.any()


def test_the_printed_loss_teaches_nothing_and_the_others_do():
    features, images = problem(20, 20, batch=1)
    losses = {
        r: [float(colour_affinity_loss(features * s, images, r)) for s in (0.5, 1, 2)] for r in READINGS
    }
    # T is below M but where two colours are nearly as far apart as any: hardly ever in 400 cells
    assert max(losses["literal"]) == pytest.approx(min(losses["literal"]), rel=2e-3)
    assert all(max(losses[r]) > 1.05 * min(losses[r]) for r in ("rows", "raw"))


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), reading=st.sampled_from(READINGS))
def test_flips_and_image_brightness_do_not_matter(seed, reading):
    features, images = problem(seed=seed)
    loss = colour_affinity_loss(features, images, reading)
    flipped = colour_affinity_loss(features.flip(3), images.flip(3), reading)
    assert torch.allclose(flipped, loss, rtol=1e-6)  # colour distances are float32
    assert torch.allclose(colour_affinity_loss(features, images / 2 + 10, reading), loss, rtol=1e-5)
    assert float(loss) <= {"rows": 2, "raw": 1, "literal": math.inf}[reading]


def test_training_draws_equal_colours_together():
    images = torch.zeros(1, 3, 4, 6)
    images[..., 3:] = 200
    features = problem(4, 6, batch=1)[0].float().requires_grad_()
    optimizer = torch.optim.Adam([features], lr=0.1)
    first = float(colour_affinity_loss(features, images).detach())
    for _ in range(150):
        optimizer.zero_grad()
        loss = colour_affinity_loss(features, images)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.3 * first


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("norm", ["image", "range"])
def test_flat_images_and_equal_features_are_finite(reading, norm):
    features = torch.zeros(1, 3, 4, 4, requires_grad=True)
    loss = colour_affinity_loss(features, torch.full((1, 3, 4, 4), 9), reading, norm)
    loss.backward()
    assert bool(loss.isfinite()) and bool(features.grad.isfinite().all())
    if reading != "literal":
        assert float(loss.detach()) == 0


def test_size_resizes_both():
    features, images = problem(8, 8)
    large = images.repeat_interleave(3, 2).repeat_interleave(3, 3)
    colours = F.interpolate(large.float(), (4, 5), mode="bilinear", antialias=True)
    maps = F.interpolate(features, (4, 5), mode="bilinear", antialias=True)
    expected = colour_affinity_loss(maps, colours)
    assert torch.equal(colour_affinity_loss(features, large, size=(4, 5)), expected)
    assert torch.equal(ColourAffinityLoss(size=(4, 5))(features, large), expected)
    assert ColourAffinityLoss().size == (50, 50)


def test_types():
    features, images = problem()
    half = features.bfloat16().requires_grad_()
    loss = colour_affinity_loss(half, images.byte())
    loss.backward()
    assert loss.dtype == torch.float32 and half.grad.dtype == torch.bfloat16
    assert float(loss.detach()) == float(colour_affinity_loss(half.detach().float(), images.float()))


def test_nan_is_not_hidden():
    features, images = problem()
    features[0, 0, 0, 0] = torch.nan
    assert bool(colour_affinity_loss(features, images).isnan())


@pytest.mark.parametrize(
    ("features", "images", "more", "message"),
    [
        (torch.zeros(3, 4, 5), torch.zeros(1, 3, 4, 5), {}, "features must be"),
        (torch.zeros(1, 0, 4, 5), torch.zeros(1, 3, 4, 5), {}, "features must be .* not empty"),
        (torch.zeros(1, 3, 4, 5).long(), torch.zeros(1, 3, 4, 5), {}, "features must be floating"),
        (torch.zeros(1, 3, 4, 5), torch.zeros(2, 3, 4, 5), {}, r"images must be \(1, 3, H, W\)"),
        (torch.zeros(1, 3, 4, 5), torch.zeros(1, 1, 4, 5), {}, "images must be"),
        (torch.zeros(1, 3, 4, 5), torch.zeros(1, 3, 8, 10), {}, "images must have one size.*`size`"),
        (torch.zeros(1, 3, 4, 5), torch.zeros(1, 3, 4, 5), {"size": (0, 5)}, "size must be"),
        (torch.zeros(1, 3, 4, 5), torch.zeros(1, 3, 4, 5), {"reading": "row"}, "reading must be one of"),
        (torch.zeros(1, 3, 4, 5), torch.zeros(1, 3, 4, 5), {"norm": "max"}, "norm must be one of"),
        (torch.zeros(1, 3, 4, 5), torch.zeros(1, 3, 4, 5), {"engine": "c"}, "engine must be one of"),
        (torch.zeros(1, 3, 4, 5).double(), torch.zeros(1, 3, 4, 5), {"engine": "numba"}, "takes float32"),
    ],
)
def test_wrong_arguments_are_named(features, images, more, message):
    with pytest.raises(ValueError, match=message):
        colour_affinity_loss(features, images, **more)
