from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tag2mask.losses import DenseEnergyLoss, dense_energy_loss
from tag2mask.ops.lattice.bilateral import bilateral_sums
from tag2mask.ops.lattice.filter import lattice_filter
from tag2mask.ops.lattice.permutohedral import build_lattice

WAYS = [
    {"method": "lattice", "engine": "numba"},
    {"method": "lattice", "engine": "torch"},
    {"method": "exact"},
]
EVERY_WAY = pytest.mark.parametrize("way", WAYS, ids=["numba", "torch", "exact"])

Problem = tuple[Tensor, Tensor, Tensor, Tensor]


def crop(batch: int = 2, classes: int = 3, height: int = 12, width: int = 16, seed: int = 0) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (batch, 3, height, width), generator=generator).float()
    probs = torch.randn(batch, classes, height, width, generator=generator).mul(2).softmax(1)
    labels = torch.randint(0, classes, (batch, height, width), generator=generator)
    labels[:, :, : width // 2] = 255
    roi = torch.ones(batch, height, width)
    roi[0, -4:] = 0
    return images, probs, labels, roi


def slope(loss: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(loss, x)[0]


@EVERY_WAY
def test_padding_has_no_part_and_no_gradient(way):
    images, probs, labels, roi = crop()
    x = probs.clone().requires_grad_()
    loss = dense_energy_loss(images, x, labels, roi, **way)
    gradient = slope(loss, x)
    assert float(gradient[0, :, -4:].abs().max()) == 0
    assert float(gradient[0, :, :-4].abs().max()) > 0
    probs[0, :, -4:] = probs[0, :, -4:].flip(1)
    labels[0, -4:] = 255
    # Scattering zeros leaves sums as they are: equal to the last digit.
    assert float(dense_energy_loss(images, probs, labels, roi, **way)) == float(loss.detach())


@EVERY_WAY
def test_the_gate_is_one_where_unlabelled_and_closed_where_sure(way):
    images, _, labels, _ = crop()
    roi = torch.ones_like(labels).float()
    sure = torch.nn.functional.one_hot(torch.where(labels == 255, 0, labels), 3).permute(0, 3, 1, 2).float()
    x = sure.requires_grad_()
    gradient = slope(dense_energy_loss(images, x, labels, roi, scale=1, **way), x)
    closed = (labels != 255)[:, None].expand_as(gradient)
    assert float(gradient[closed].abs().max()) == 0
    sums = bilateral_sums(images, sure.detach(), 15, 100, **way)
    assert torch.allclose(gradient[~closed], -sums[~closed], rtol=1e-6)  # -2 / B with B = 2


@EVERY_WAY
@pytest.mark.parametrize("value", [0, 2, 255])
def test_one_kind_of_pixel_alone_is_finite(way, value):
    images, probs, labels, roi = crop()
    x = probs.requires_grad_()
    loss = dense_energy_loss(images, x, torch.full_like(labels, value), roi, **way)
    assert bool(loss.isfinite()) and float(loss.detach()) < 0
    assert bool(slope(loss, x).isfinite().all())


@EVERY_WAY
def test_nothing_but_padding_is_zero(way):
    images, probs, labels, roi = crop()
    x = probs.requires_grad_()
    loss = dense_energy_loss(images, x, labels, torch.zeros_like(roi), **way)
    assert float(loss.detach()) == 0 and float(slope(loss, x).abs().max()) == 0


@EVERY_WAY
def test_the_loss_of_a_batch_is_the_mean_of_its_images(way):
    data = crop()
    singles = [dense_energy_loss(*(t[i : i + 1] for t in data), **way) for i in range(2)]
    assert float(dense_energy_loss(*data, **way)) == pytest.approx(
        float(sum(singles)) / 2, rel=1e-5
    )  # float32


@EVERY_WAY
def test_other_layouts_and_types_give_the_same(way):
    images, probs, labels, roi = crop()
    expected = float(dense_energy_loss(images, probs, labels, roi, **way))
    strided = probs.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    mirrored = torch.stack([images, images], -1)[..., 0]
    loss = dense_energy_loss(mirrored, strided, labels.int(), roi.bool(), **way)
    # float32 sums over another layout
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    loss = dense_energy_loss(images.byte(), probs, labels.to(torch.uint8), roi.double(), **way)
    assert float(loss) == expected


@EVERY_WAY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_number_types(way, dtype):
    images, probs, labels, roi = crop()
    x = probs.to(dtype).requires_grad_()
    loss = dense_energy_loss(images, x, labels, roi, **way)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert slope(loss, x).dtype == dtype
    plain = dense_energy_loss(images, x.detach().float(), labels, roi, **way)
    assert float(loss.detach()) == pytest.approx(float(plain), rel=1e-5)  # float64 against float32


@EVERY_WAY
def test_autocast_does_not_round(way):
    data = crop()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = dense_energy_loss(*data, **way)
    assert float(inside) == float(dense_energy_loss(*data, **way))


def test_threads_do_not_change_the_numbers():
    images, probs, labels, roi = crop(batch=5)
    before, gradients = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            x = probs.clone().requires_grad_()
            gradients.append(slope(dense_energy_loss(images, x, labels, roi), x))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*gradients)


def test_sigma_is_given_at_full_resolution():
    images = torch.full((1, 3, 8, 8), 90.0)
    data = (images, torch.ones(1, 1, 8, 8), torch.full((1, 8, 8), 255), torch.ones(1, 8, 8))
    sums = bilateral_sums(images[..., :4, :4], torch.ones(1, 1, 4, 4), 15, 3, "exact")
    loss = dense_energy_loss(*data, sigma_xy=6, scale=0.5, method="exact")
    assert float(loss) == pytest.approx(-float(sums.sum()), rel=1e-5)  # float32


def test_odd_sizes_and_a_single_pixel():
    for height, width in ((1, 1), (7, 9), (1, 30)):
        data = crop(batch=1, height=height, width=width)[:3]
        loss = dense_energy_loss(*data, torch.ones(1, height, width), scale=1)
        assert bool(loss.isfinite())


def test_training_joins_pixels_of_one_colour():
    images = torch.zeros(1, 3, 16, 16)
    images[..., 8:] = 250
    labels, roi = torch.full((1, 16, 16), 255), torch.ones(1, 16, 16)
    logits = torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(1)) * 0.1
    logits[:, 0, :, :8] += 0.1
    logits[:, 1, :, 8:] += 0.1
    module = DenseEnergyLoss(scale=1)
    for _ in range(20):
        x = logits.requires_grad_()
        logits = x.detach() - slope(module(images, x.softmax(1), labels, roi), x).sign() * 0.3
    assert bool((logits.argmax(1)[..., :8] == 0).all()) and bool((logits.argmax(1)[..., 8:] == 1).all())


@settings(max_examples=10)
@given(order=st.permutations(range(4)), seed=st.integers(0, 100), way=st.sampled_from(WAYS))
def test_the_order_of_the_classes_does_not_matter(order, seed, way):
    images, probs, _, roi = crop(classes=4, height=6, width=8, seed=seed)
    labels = crop(classes=4, height=6, width=8, seed=seed)[2]
    other = probs[:, order].contiguous()
    expected = float(dense_energy_loss(images, probs, labels, roi, **way))
    # A labelled pixel is gated by its largest probability, whichever class; float32 sums in another order.
    assert float(dense_energy_loss(images, other, labels, roi, **way)) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=10)
@given(axis=st.sampled_from([1, 2]), seed=st.integers(0, 100), scale=st.sampled_from([1, 0.5]))
def test_a_flip_does_not_matter_to_the_exact_energy(axis, seed, scale):
    # Not so for a lattice, whose cells lie otherwise in a mirrored image; nearest resizing by 0.5 takes other
    # pixels of one, so blocks of 2 x 2 are made equal.
    images, probs, labels, roi = (t.double() if t.is_floating_point() else t for t in crop(seed=seed))
    images, labels, roi = (
        t[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2) for t in (images, labels, roi)
    )
    data = (images, probs, labels, roi)
    flipped = [t.flip(axis - 3) for t in data]
    losses = [float(dense_energy_loss(*d, scale=scale, method="exact")) for d in (data, flipped)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)  # float64 sums in another order


WRONG = [
    ("images", lambda t: t[:, :2], "images must be"),
    ("images", lambda t: t[0], "images must be"),
    ("images", lambda t: t.index_fill(3, torch.tensor([0]), torch.nan), "images must be colours"),
    ("images", lambda t: t / 64 - 2, "images must be colours 0..255, not normalised"),
    ("probs", lambda t: t[0], "probs must be floating point"),
    ("probs", lambda t: t.long(), "probs must be floating point"),
    ("probs", lambda t: t * torch.nan, "probs must be probabilities"),
    ("probs", lambda t: t * 10, "probs must be probabilities"),
    ("labels", lambda t: t[:, :-1], "labels must be"),
    ("labels", lambda t: t.float(), "labels must be integers"),
    ("labels", lambda t: torch.where(t == 255, -1, t), "labels must be 0..2, or 255"),
    ("roi", lambda t: t[0], "roi must be"),
    ("roi", lambda t: t * 255, "roi must be 1 inside"),
    ("roi", lambda t: t.to("meta"), "roi must lie where probs lies"),
]


@pytest.mark.parametrize(("name", "change", "message"), WRONG)
def test_wrong_tensors_are_named(name, change, message):
    data = dict(zip(("images", "probs", "labels", "roi"), crop(), strict=True))
    data[name] = change(data[name])
    with pytest.raises(ValueError, match=message):
        dense_energy_loss(**data)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma_rgb": 0}, "sigma_rgb must be above 0"),
        ({"sigma_xy": -1}, "sigma_xy must be above 0"),
        ({"sigma_xy": float("nan")}, "sigma_xy must be above 0"),
        ({"sigma_rgb": 1e-6, "sigma_xy": 1e-6}, "larger standard deviations"),
        ({"sigma_rgb": 1e-6, "sigma_xy": 1e-6, "engine": "torch"}, "larger standard deviations"),
        ({"scale": 0}, "scale must lie in"),
        ({"scale": 2}, "scale must lie in"),
        ({"scale": 0.05}, "leave a pixel of 12 x 16"),
        ({"method": "lattices"}, "method must be one of"),
        ({"engine": "cuda"}, "engine must be one of"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        dense_energy_loss(*crop(), **settings)


def test_filters_name_what_does_not_fit():
    lattice = build_lattice(torch.rand(5, 9).numpy())
    with pytest.raises(ValueError, match=r"maps: expected float32 \(K, 9\)"):
        lattice_filter(lattice, torch.rand(2, 8).numpy())
    with pytest.raises(ValueError, match="lattice: expected one of 5 features"):
        lattice_filter(build_lattice(torch.rand(2, 9).numpy()), torch.rand(2, 9).numpy())
    with pytest.raises(ValueError, match="images must be"):
        bilateral_sums(torch.rand(1, 4, 5, 5), torch.rand(1, 2, 5, 5), 1, 1)
    with pytest.raises(ValueError, match="maps must be"):
        bilateral_sums(torch.rand(1, 3, 5, 5), torch.rand(2, 2, 5, 5), 1, 1)
