from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tag2mask.ops import (
    affinity_graph,
    half_plane_offsets,
    pair_distances,
    random_walk,
    random_walks,
    to_dense,
)
from tag2mask.ops.pairs import pair_mask, source_windows
from tag2mask.ops.walk.chebyshev import power_coefficients


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_offsets_and_sources_are_those_of_the_published_code():
    offsets = half_plane_offsets(5)
    assert len(offsets) == 34 and len(set(offsets)) == 34
    assert not {(-y, -x) for y, x in offsets} & set(offsets)
    assert pair_mask(56, 56, 5, "psa").flatten(1).sum(1).tolist() == [2496] * 34


@pytest.mark.parametrize("border", ["all", "psa"])
def test_interior_rows_have_69_entries_and_the_matrix_is_symmetric(border):
    dense = to_dense(affinity_graph(noise(3, 20, 22), border=border))
    per_row = (dense > 0).sum(1).view(20, 22)
    assert per_row[8:-8, 8:-8].unique().tolist() == [69] and int(per_row.max()) == 69
    assert torch.equal(dense, dense.T) and torch.equal(dense.diagonal(), torch.ones(440))


@pytest.mark.parametrize("engine", ["numba", "torch"])
@pytest.mark.parametrize("size", [(2, 2), (2, 9), (7, 3), (13, 10)])
def test_constants_stay_and_bounds_hold(engine, size):
    graph = affinity_graph(noise(4, *size))
    maps = torch.cat([torch.full((1, *size), 0.7), noise(2, *size, seed=1)])
    walked = random_walk(graph, maps, engine=engine)
    assert torch.equal(walked[0], maps[0])
    assert bool((walked.amax((1, 2)) <= maps.amax((1, 2))).all())
    assert bool((walked.amin((1, 2)) >= maps.amin((1, 2))).all())


def test_mass_weighted_by_degree_is_kept():
    graph = affinity_graph(noise(4, 12, 10).double())
    maps = noise(2, 12, 10, seed=1).double()
    degree = to_dense(graph, 8.0).sum(1)
    before, after = (m.flatten(1) @ degree for m in (maps, random_walk(graph, maps, tol=1e-12)))
    # P^t keeps d^T x exactly; the truncation is at 1e-12
    assert torch.allclose(before, after, rtol=1e-10)


def test_scores_do_not_cross_a_strong_edge():
    features = torch.zeros(8, 16, 16)
    features[:, :, 8:] = 10
    maps = torch.zeros(1, 16, 16)
    maps[:, :, :8] = noise(1, 16, 8)
    walked = random_walk(affinity_graph(features), maps)
    # exp(-10)^8 = 2e-35: next to nothing crosses, and 256 steps even the left half out
    assert float(walked[:, :, 8:].max()) < 1e-30
    assert float(walked[:, :, :8].std()) < 0.01


def test_engines_agree():
    graph = affinity_graph(noise(8, 33, 21) * 3)
    maps = noise(4, 33, 21, seed=1)
    compiled, products = (random_walk(graph, maps, engine=engine) for engine in ("numba", "torch"))
    # 70 float32 products in another order
    assert torch.allclose(compiled, products, atol=1e-5)


@pytest.mark.parametrize("buffer", [2**26, 10**5, 1])
@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_images_of_several_sizes_walk_as_each_alone(engine, buffer, monkeypatch):
    monkeypatch.setattr("tag2mask.ops.walk.tensor_stencil._BUFFER_BYTES", buffer)
    sizes = [(9, 14), (12, 6), (2, 2), (7, 7)]
    graphs = [affinity_graph(noise(6, *size, seed=i).double() * 3) for i, size in enumerate(sizes)]
    maps = [noise(k, *size, seed=9) for k, size in zip((2, 0, 4, 1), sizes, strict=True)]
    together = random_walks(graphs, maps, engine=engine)
    for graph, scores, found in zip(graphs, maps, together, strict=True):
        # float64 sums in another order
        assert torch.allclose(found, random_walk(graph, scores, engine="numba"), rtol=0, atol=1e-11)
    assert random_walks([], [], engine=engine) == []


@pytest.mark.parametrize("radius", [2, 3, 9])
def test_engines_agree_for_every_radius(radius):
    graph = affinity_graph(noise(4, 11, 8).double(), radius)
    maps = noise(2, 11, 8, seed=1).double()
    walks = [random_walk(graph, maps, tol=1e-12, engine=engine) for engine in ("numba", "torch")]
    assert torch.allclose(*walks, rtol=0, atol=1e-11)  # float64


@pytest.mark.parametrize("border", ["all", "psa"])
@pytest.mark.parametrize("buffer", [2**26, 3 * 2 * 6 * 130 * 4, 1])
def test_distances_in_pieces_are_the_compiled_ones(border, buffer, monkeypatch):
    monkeypatch.setattr("tag2mask.ops.pairs.distances._BUFFER_BYTES", buffer)
    features = noise(2, 6, 13, 10)
    ways = [pair_distances(features, 5, border, engine=engine) for engine in ("numba", "torch")]
    assert torch.allclose(*ways, rtol=0, atol=1e-6)  # float32 means of six numbers below 1


def test_walks_that_do_not_fit_together_are_refused():
    graphs = [affinity_graph(noise(2, 4, 4), radius) for radius in (2, 3)]
    with pytest.raises(ValueError, match="one radius"):
        random_walks(graphs, [noise(1, 4, 4)] * 2)
    with pytest.raises(ValueError, match="1 graphs and 2 maps"):
        random_walks(graphs[:1], [noise(1, 4, 4)] * 2)


def test_bfloat16_features_are_computed_in_float32():
    features = noise(8, 12, 12)
    graph = affinity_graph(features.bfloat16())
    assert graph.distances.dtype == torch.float32
    assert torch.equal(graph.distances, affinity_graph(features.bfloat16().float()).distances)
    assert random_walk(graph, noise(2, 12, 12).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_no_maps_is_no_error(engine):
    assert random_walk(affinity_graph(noise(2, 5, 4)), torch.zeros(0, 5, 4), engine=engine).shape == (0, 5, 4)


def test_threads_and_inference_mode():
    features, maps = noise(8, 20, 16), noise(2, 20, 16, seed=1)
    expected = random_walk(affinity_graph(features), maps)
    with torch.inference_mode():
        assert torch.equal(random_walk(affinity_graph(features), maps), expected)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: random_walk(affinity_graph(features), maps), range(16)))
    assert all(torch.equal(r, expected) for r in results)


def test_input_maps_are_not_written_to():
    maps = noise(2, 9, 9)
    before = maps.clone()
    random_walk(affinity_graph(noise(2, 9, 9)), maps)
    assert torch.equal(maps, before)


@given(st.integers(1, 600), st.floats(-1, 1))
def test_truncated_power_is_within_its_tolerance(steps, x):
    coefficients = power_coefficients(steps, 1e-5)
    value = sum(c * math.cos(k * math.acos(x)) for k, c in enumerate(coefficients))
    # the rest that is cut off, and as much again from scaling the kept part to sum to 1
    assert abs(value - x**steps) <= 2.1e-5


@pytest.mark.parametrize(("tol", "degree"), [(1e-3, 52), (1e-4, 62), (1e-5, 70), (1e-6, 78)])
def test_degrees_for_256_steps(tol, degree):
    # P(|S_256| > m) <= tol, from the binomial distribution
    tail = sum(math.comb(256, (256 - k) // 2) for k in range(degree + 2, 257, 2)) * 2 / 2**256
    wider = sum(math.comb(256, (256 - k) // 2) for k in range(degree, 257, 2)) * 2 / 2**256
    assert tail <= tol < wider
    assert len(power_coefficients(256, tol)) - 1 == degree


@pytest.mark.parametrize("size", [(4, 20), (20, 8)])
def test_too_small_for_the_published_pairs_names_the_way_out(size):
    with pytest.raises(ValueError, match=r"at least 5 x 9 cells.*border='all'"):
        affinity_graph(noise(2, *size), border="psa")


def test_the_smallest_published_map_has_one_row_of_sources():
    assert source_windows(5, 9, 5, "psa")[0].tolist() == [0, 1, 0, 1, 4, 5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: affinity_graph(torch.zeros(4, 4)), r"features must be \(C, H, W\)"),
        (lambda g: affinity_graph(torch.zeros(0, 4, 4)), "not empty"),
        (lambda g: affinity_graph(torch.zeros(1, 4, 4).long()), "floating point"),
        (lambda g: affinity_graph(torch.full((1, 4, 4), torch.nan)), "NaN"),
        (lambda g: affinity_graph(torch.full((1, 4, 4), torch.inf)), "NaN or inf"),
        (lambda g: affinity_graph(torch.zeros(1, 4, 4), radius=1), "radius"),
        (lambda g: affinity_graph(torch.zeros(1, 4, 4), border="x"), "border must be one of"),
        (lambda g: random_walk(g, torch.zeros(1, 4, 5)), r"maps must be \(K, 4, 4\)"),
        (lambda g: random_walk(g, torch.full((1, 4, 4), torch.nan)), "maps holds NaN"),
        (lambda g: random_walk(g, torch.zeros(1, 4, 4), beta=0), "beta must be above 0"),
        (lambda g: random_walk(g, torch.zeros(1, 4, 4), steps=0), "steps must be"),
        (lambda g: random_walk(g, torch.zeros(1, 4, 4), tol=0), "tol must lie"),
        (lambda g: random_walk(g, torch.zeros(1, 4, 4), tol=1), "tol must lie"),
        (lambda g: random_walk(g, torch.zeros(1, 4, 4), engine="x"), "engine must be one of"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(affinity_graph(torch.zeros(1, 4, 4)))
