from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tag2mask.losses import RegionSmoothnessLoss, region_smoothness_loss
from tag2mask.ops import normalise_gates


def problem(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    gates = torch.randn(2, 4, 3, 2, 6, 8, generator=generator, dtype=dtype)
    return gates, torch.randint(0, 5, (2, 6, 8), generator=generator)


def by_regions(gates: torch.Tensor, superpixels: torch.Tensor) -> torch.Tensor:
    """Variances of single regions, weighted by their sizes."""
    total, count = gates.new_zeros(()), 0
    for maps, labels in zip(gates.flatten(1, -3), superpixels, strict=True):
        for region in labels.unique():
            if region >= 0:
                values = maps[:, labels == region]
                total = total + (values - values.mean(1, keepdim=True)).square().sum()
                count += values.numel()
    return total / max(count, 1)


def test_value_and_gradient_equal_a_loop_over_regions():
    gates, superpixels = problem()
    gates.requires_grad_()
    superpixels[0, :2] = -1
    expected, found = by_regions(gates, superpixels), region_smoothness_loss(gates, superpixels)
    slopes = [torch.autograd.grad(v, gates)[0] for v in (expected, found)]
    # float64, sums in another order
    assert float((expected - found).detach().abs()) < 1e-14
    assert float((slopes[0] - slopes[1]).abs().max()) < 1e-16


def test_gradcheck():
    gates, superpixels = problem()
    small = gates[:, :1, :1, :1].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda g: region_smoothness_loss(g, superpixels), (small,))


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_names_of_regions_and_flips_do_not_matter(seed):
    gates, superpixels = problem(seed)
    loss = region_smoothness_loss(gates, superpixels)
    renamed = torch.tensor([7, 2**40, 3, 0, 99])[superpixels]
    renamed[1] += 1  # a number in one image says nothing about another image
    assert torch.allclose(region_smoothness_loss(gates, renamed), loss, rtol=1e-12)  # float64 sums
    flipped = region_smoothness_loss(gates.flip(-1), superpixels.flip(-1))
    assert torch.allclose(flipped, loss, rtol=1e-12)


def test_smooth_regions_cost_nothing():
    gates, superpixels = problem()
    flat = superpixels[:, None, None, None].double().expand_as(gates) * 0.3
    # 0.3 has no exact binary fraction, so that means of it are off by a rounding
    assert float(region_smoothness_loss(flat, superpixels)) < 1e-30
    assert float(region_smoothness_loss(gates, torch.arange(96).view(2, 6, 8))) == 0


def test_superpixels_are_resized_to_the_nearest():
    gates, superpixels = problem()
    expected = region_smoothness_loss(gates, superpixels)
    large = superpixels.repeat_interleave(2, 1).repeat_interleave(3, 2)
    assert torch.equal(region_smoothness_loss(gates, large), expected)
    odd = torch.zeros(2, 13, 15, dtype=torch.int64)
    odd[:, 7:] = 1  # the rows of 6 have their centres at 1.08, 3.25, 5.42, 7.58, ...
    half = torch.zeros(2, 6, 8, dtype=torch.int64)
    half[:, 3:] = 1
    assert torch.equal(region_smoothness_loss(gates, odd), region_smoothness_loss(gates, half))


def test_no_region_is_zero_with_a_gradient():
    gates, superpixels = problem()
    gates.requires_grad_()
    loss = region_smoothness_loss(gates, torch.full_like(superpixels, -1))
    loss.backward()
    assert float(loss.detach()) == 0 and float(gates.grad.abs().max()) == 0


def test_types_and_strides():
    gates, superpixels = problem(dtype=torch.float32)
    expected = region_smoothness_loss(gates, superpixels)
    turned = gates.transpose(-1, -2).contiguous().transpose(-1, -2)
    assert torch.equal(region_smoothness_loss(turned, superpixels.to(torch.int16)), expected)
    half = gates.bfloat16().requires_grad_()
    loss = RegionSmoothnessLoss()(half, superpixels)
    loss.backward()
    assert loss.dtype == torch.float32 and half.grad.dtype == torch.bfloat16
    assert float(loss.detach()) == pytest.approx(float(expected), rel=0.02)  # 8 bits in each gate


def test_normalised_gates_cannot_escape_by_shrinking():
    gates, superpixels = problem()
    small = region_smoothness_loss(gates * 0.01, superpixels)
    assert float(small) < 2e-4 * float(region_smoothness_loss(gates, superpixels))
    shares = [region_smoothness_loss(normalise_gates(g), superpixels) for g in (gates, gates * 0.1)]
    assert torch.allclose(*shares, rtol=1e-10)  # float64


def test_nan_is_not_hidden():
    gates, superpixels = problem()
    gates[0, 0, 0, 0, 0, 0] = torch.nan
    assert bool(region_smoothness_loss(gates, superpixels).isnan())


@pytest.mark.parametrize(
    ("gates", "superpixels", "message"),
    [
        (torch.zeros(6, 4, 5), torch.zeros(6, 4, 5).long(), "gates must be"),
        (torch.zeros(2, 0, 4, 5), torch.zeros(2, 4, 5).long(), "gates must be .* not empty"),
        (torch.zeros(2, 3, 4, 5).long(), torch.zeros(2, 4, 5).long(), "gates must be floating"),
        (torch.zeros(2, 3, 4, 5), torch.zeros(1, 4, 5).long(), r"superpixels must be \(2, h, w\)"),
        (torch.zeros(2, 3, 4, 5), torch.zeros(2, 4).long(), "superpixels must be"),
        (torch.zeros(2, 3, 4, 5), torch.zeros(2, 0, 5).long(), "superpixels must be"),
        (torch.zeros(2, 3, 4, 5), torch.zeros(2, 4, 5), "superpixels must be integers"),
        (torch.zeros(2, 3, 4, 5), torch.zeros(2, 4, 5).bool(), "superpixels must be integers"),
    ],
)
def test_wrong_arguments_are_named(gates, superpixels, message):
    with pytest.raises(ValueError, match=message):
        region_smoothness_loss(gates, superpixels)
