from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tag2mask.ops import normalise_gates, spatial_propagation

ENGINES = ["numba", "torch"]
SIZES = [(6, 6), (4, 7), (1, 5), (5, 1), (1, 1)]


def problem(height: int, width: int, batch: int = 2, channels: int = 3, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, channels, height, width, generator=generator)
    return x, torch.randn(batch, 4, 3, channels, height, width, generator=generator)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=20)
@given(
    seed=st.integers(0, 10**6), value=st.sampled_from([1.0, -3e5, 7e-20]), floor=st.sampled_from([1e-4, 1.0])
)
def test_constant_maps_stay(engine, seed, value, floor):
    x, gates = problem(4, 6, seed=seed)
    out = spatial_propagation(torch.full_like(x, value), gates, floor, engine)
    # the kernel adds differences, which are 0; the operations add four shares of 1, 6e-8 each, in 6 lines
    assert float((out - value).abs().max()) <= (0 if engine == "numba" else 3e-6) * abs(value)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("size", SIZES)
def test_without_gates_every_direction_is_the_input(engine, size):
    x, gates = problem(*size)
    out = spatial_propagation(x, torch.zeros_like(gates), engine=engine)
    assert torch.equal(out, x[:, None].expand_as(out))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_impulse_decays_along_its_direction(engine):
    x = torch.zeros(1, 1, 5, 5)
    x[..., 2, 2] = 1
    gates = torch.zeros(1, 4, 3, 1, 5, 5)
    gates[:, :, 1] = 0.5  # with floor 1 half of the neighbour behind, half of the place itself
    out = spatial_propagation(x, gates, floor=1, engine=engine)[0, :, 0]
    assert out[0, 2].tolist() == [0, 0, 0.5, 0.25, 0.125]
    assert out[1, 2].tolist() == [0.125, 0.25, 0.5, 0, 0]
    assert out[2, :, 2].tolist() == [0, 0, 0.5, 0.25, 0.125]
    assert out[3, :, 2].tolist() == [0.125, 0.25, 0.5, 0, 0]
    assert float(out[:2, [0, 1, 3, 4]].abs().max()) == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_three_connections_open_a_cone(engine):
    x = torch.zeros(1, 1, 5, 4)
    x[..., 2, 0] = 9
    out = spatial_propagation(x, torch.ones(1, 4, 3, 1, 5, 4), engine=engine)[0, 0, 0]
    # thirds of three neighbours, halves at the borders
    expected = [
        [0, 0, 1.5, 7 / 4],
        [0, 3, 2, 13 / 6],
        [9, 3, 3, 7 / 3],
        [0, 3, 2, 13 / 6],
        [0, 0, 1.5, 7 / 4],
    ]
    assert torch.allclose(out, torch.tensor(expected), atol=1e-6)  # float32 numbers of size 9


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), size=st.sampled_from(SIZES))
def test_flipping_and_turning_commute(engine, seed, size):
    x, gates = problem(*size, seed=seed)
    out = spatial_propagation(x, gates, engine=engine)
    # left-right and right-left change places; for the vertical ones the outer neighbours do
    flipped = gates.flip(-1)
    flipped = torch.cat([flipped[:, [1, 0]], flipped[:, 2:].flip(2)], 1)
    mirrored = spatial_propagation(x.flip(-1), flipped, engine=engine).flip(-1)
    assert torch.allclose(mirrored[:, [1, 0, 2, 3]], out, atol=1e-5)  # sums of three in another order
    turned = spatial_propagation(x.mT, gates[:, [2, 3, 0, 1]].mT, engine=engine).mT
    assert torch.allclose(turned[:, [2, 3, 0, 1]], out, atol=1e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_positive_gates_keep_the_bounds(seed):
    x, gates = problem(5, 6, seed=seed)
    out = spatial_propagation(x, gates.abs())
    # averages, but for float32 rounding of numbers of size 4
    assert float(out.max()) <= float(x.max()) + 1e-5 and float(out.min()) >= float(x.min()) - 1e-5


def test_shares_sum_to_one_and_the_outside_has_none():
    gates = problem(5, 6)[1]
    shares = normalise_gates(gates)
    total = shares.abs().sum(2)
    first = torch.zeros(4, 5, 6, dtype=torch.bool)
    first[0, :, 0] = first[1, :, -1] = first[2, 0] = first[3, -1] = True
    assert float(total.movedim(2, 1)[:, :, first].abs().max()) == 0
    assert torch.allclose(total.movedim(2, 1)[:, :, ~first], torch.ones(()))  # float32
    assert (
        float(shares[:, :2, 0, :, 0].abs().max()) == 0 and float(shares[:, 2:, 2, :, :, -1].abs().max()) == 0
    )
    assert bool((shares * gates >= 0).all())
    small = gates / 100
    assert torch.equal(normalise_gates(small, floor=1)[:, 0, :, :, 1:-1, 1:], small[:, 0, :, :, 1:-1, 1:])


@pytest.mark.parametrize("size", [(9, 9), (7, 12)])
def test_engines_agree(size):
    x, gates = problem(*size)
    results = []
    for engine in ENGINES:
        a, g = x.clone().requires_grad_(), gates.clone().requires_grad_()
        out = spatial_propagation(a, g, engine=engine)
        results.append((out, *torch.autograd.grad(out.square().sum(), (a, g))))
    for one, other in zip(*results, strict=True):
        # a dozen float32 steps in another order; gradients by gates grow with 1 / sum |g|
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_strided_arguments(engine):
    x, gates = problem(5, 6, channels=4)
    expected = spatial_propagation(x, gates, engine=engine)
    last = x.to(memory_format=torch.channels_last)
    apart = gates.movedim(3, -1).contiguous().movedim(-1, 3)
    assert not last.is_contiguous() and not apart.is_contiguous()
    assert torch.equal(spatial_propagation(last, apart, engine=engine), expected)
    one = x[:1].expand(2, -1, -1, -1).requires_grad_()
    out = spatial_propagation(one, gates, engine=engine)
    (slope,) = torch.autograd.grad(out.sum(), one, torch.ones(()).expand_as(out.sum()))
    assert slope.shape == one.shape and bool(slope.isfinite().all())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("x_dtype", "gates_dtype"), [(torch.bfloat16,) * 2, (torch.float32, torch.bfloat16)])
def test_half_precision_is_computed_in_float32(engine, x_dtype, gates_dtype):
    x, gates = problem(5, 6)
    x, gates = x.to(x_dtype).requires_grad_(), gates.to(gates_dtype).requires_grad_()
    out = spatial_propagation(x, gates, engine=engine)
    assert torch.equal(out, spatial_propagation(x.float(), gates.float(), engine=engine).to(x_dtype))
    out.float().sum().backward()
    assert x.grad.dtype == x_dtype and gates.grad.dtype == gates_dtype


@pytest.mark.parametrize("engine", ENGINES)
def test_zero_gates_have_a_finite_gradient(engine):
    x, gates = problem(4, 4)
    gates = torch.zeros_like(gates).requires_grad_()
    spatial_propagation(x, gates, engine=engine).sum().backward()
    assert bool(gates.grad.isfinite().all()) and float(gates.grad.abs().max()) > 0


@pytest.mark.parametrize("engine", ENGINES)
def test_nan_spreads_with_the_scan_only(engine):
    x, gates = problem(4, 5, batch=1, channels=1)
    x[..., 2] = torch.nan
    nan = spatial_propagation(x, gates, engine=engine).isnan()[0, :, 0]
    assert nan[0].all(0).tolist() == [False, False, True, True, True]
    assert nan[1].all(0).tolist() == [True, True, True, False, False]


def test_arguments_are_not_written_to():
    x, gates = problem(4, 5)
    before = x.clone(), gates.clone()
    spatial_propagation(x, gates)
    assert torch.equal(x, before[0]) and torch.equal(gates, before[1])


def test_threads_and_inference_mode():
    x, gates = problem(8, 9, batch=3, channels=20)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        single = spatial_propagation(x, gates)
        torch.set_num_threads(3)
        with torch.inference_mode():
            assert torch.equal(spatial_propagation(x, gates), single)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("x", "gates", "more", "message"),
    [
        (torch.zeros(3, 4, 5), torch.zeros(1, 4, 3, 3, 4, 5), {}, r"x must be \(B, C, H, W\)"),
        (torch.zeros(1, 0, 4, 5), torch.zeros(1, 4, 3, 0, 4, 5), {}, "x must be .* not empty"),
        (torch.zeros(1, 2, 4, 5), torch.zeros(1, 4, 3, 2, 5, 4), {}, r"gates must be \(1, 4, 3, 2, 4, 5\)"),
        (torch.zeros(1, 2, 4, 5), torch.zeros(1, 3, 4, 2, 4, 5), {}, "gates must be"),
        (torch.zeros(1, 2, 4, 5).int(), torch.zeros(1, 4, 3, 2, 4, 5), {}, "floating point"),
        (torch.zeros(1, 2, 4, 5), torch.zeros(1, 4, 3, 2, 4, 5).long(), {}, "floating point"),
        (torch.zeros(1, 2, 4, 5), torch.zeros(1, 4, 3, 2, 4, 5, device="meta"), {}, "one device"),
        (torch.zeros(1, 2, 4, 5), torch.zeros(1, 4, 3, 2, 4, 5), {"floor": 0}, "floor must be above 0"),
        (torch.zeros(1, 2, 4, 5), torch.zeros(1, 4, 3, 2, 4, 5), {"floor": torch.nan}, "floor must be"),
        (torch.zeros(1, 2, 4, 5), torch.zeros(1, 4, 3, 2, 4, 5), {"floor": 1e-50}, "floor must be"),
        (torch.zeros(1, 2, 4, 5), torch.zeros(1, 4, 3, 2, 4, 5), {"engine": "x"}, "engine must be one of"),
    ],
)
def test_wrong_arguments_are_named(x, gates, more, message):
    with pytest.raises(ValueError, match=message):
        spatial_propagation(x, gates, **more)


def test_wrong_gates_to_normalise_are_named():
    with pytest.raises(ValueError, match=r"gates must be \(B, 4, 3, C, H, W\)"):
        normalise_gates(torch.zeros(1, 3, 4, 1, 2, 2))
    with pytest.raises(ValueError, match="floor must be above 0"):
        normalise_gates(torch.zeros(1, 4, 3, 1, 2, 2), floor=-1)
