from __future__ import annotations

import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest
import torch

from tag2mask.core import UserError
from tag2mask.ops.lattice import lanes
from tag2mask.ops.lattice.crf import dense_crf, unary_from_labels
from tag2mask.ops.lattice.crf_params import CRF_CAM, CRF_DEEPLAB, CRFParams
from tag2mask.ops.lattice.mean_field import mean_field
from tag2mask.ops.lattice.permutohedral import build_lattice
from tests.plain_lattice import dense_matrix


def _image(height: int = 24, width: int = 31, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (3, height, width)).astype(np.uint8)


def _scores(labels: int, height: int = 24, width: int = 31, seed: int = 1) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).random((labels, height, width)).astype(np.float32)


def _softmax(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    powers = np.exp(x - x.max(axis=0))
    return powers / powers.sum(axis=0)


def _normal(points: int, dims: int, seed: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(dims, points)).astype(np.float32) * 2


@pytest.mark.parametrize("dims", [2, 5])
def test_lattice_is_consistent(dims: int) -> None:
    lattice = build_lattice(_normal(700, dims, 0))
    # Sums and differences of float32 numbers of size 1 to 30: errors stay below 1e-5.
    np.testing.assert_allclose(lattice.weights.sum(axis=1), 1, atol=1e-5)
    assert lattice.weights.min() > -1e-5
    assert set(np.unique(lattice.vertices)) == set(range(1, lattice.neighbours.shape[1]))
    assert all(len(set(row)) == dims + 1 for row in lattice.vertices.tolist())
    for axis in lattice.neighbours:
        for vertex, (before, after) in enumerate(axis.tolist()):
            assert before == 0 or axis[before, 1] == vertex
            assert after == 0 or axis[after, 0] == vertex


def test_points_in_one_place_share_a_simplex_and_far_ones_do_not() -> None:
    features = np.array([[0.1, 0.1, 50.0], [0.2, 0.2, -50.0]], np.float32)
    near, same, far = build_lattice(features).vertices.tolist()
    assert near == same
    assert not set(near) & set(far)


def test_filter_has_the_shape_of_a_gaussian() -> None:
    ticks = np.arange(-5, 5, 0.25)
    features = np.stack(np.meshgrid(ticks, ticks)).reshape(2, -1).astype(np.float32)
    matrix = dense_matrix(build_lattice(features))
    central = np.flatnonzero((np.abs(features) < 1).all(axis=0))
    squares = ((features[:, central, None] - features[:, None]) ** 2).sum(axis=0)
    exact = np.exp(-squares / 2)
    response = matrix[central]
    # The kernel is made of linear pieces and varies with the place in the lattice (variances 0.87 to 1.04):
    # a Gaussian to half a per cent in direction (measured 0.995), and in variance on average (0.999).
    lengths = np.linalg.norm(response, axis=1) * np.linalg.norm(exact, axis=1)
    assert ((response * exact).sum(axis=1) / lengths).min() > 0.99
    variance = (response * squares).sum(axis=1) / response.sum(axis=1) / 2
    assert variance.mean() == pytest.approx(1, rel=0.02)


def test_normalised_lattice_has_the_promised_filter() -> None:
    lattice = build_lattice(_normal(300, 5, 3))
    plain = dense_matrix(lattice)
    n = 1 / np.sqrt(plain.sum(axis=1))
    # float32 sums of some hundred terms of one sign: relative error about 1e-5.
    np.testing.assert_allclose(
        dense_matrix(lattice.normalised(7)), 7 * n[:, None] * plain * n, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("labels", [2, 3, 4, 5, 9])
def test_mean_field_equals_the_dense_computation(labels: int) -> None:
    near = build_lattice(_normal(300, 2, 0)).normalised(3)
    far = build_lattice(_normal(300, 5, 1)).normalised(10)
    log_scores = np.log(np.random.default_rng(2).uniform(1e-5, 1, (labels, 300))).astype(np.float32)
    message = dense_matrix(near) + dense_matrix(far)
    q = _softmax(log_scores.astype(np.float64))
    for _ in range(4):
        q = _softmax(log_scores + q @ message.T)
    # float32 messages of size up to 13 carry errors of 1e-6, which the softmax hands on and steps add up.
    np.testing.assert_allclose(mean_field(log_scores, near, far, 4), q, atol=2e-5)


def test_exp_of_four_numbers() -> None:
    @numba.njit
    def run(x: Any, out: Any) -> None:
        for i in range(0, x.size, lanes.WIDTH):
            lanes.store(out, i, lanes.exp(lanes.load(x, i)))

    x = np.linspace(-63.9, 0, 4000).astype(np.float32)
    out = np.empty_like(x)
    run(x, out)
    # A polynomial of degree 7 in float32: at most some units in the last place (6e-8 each).
    np.testing.assert_allclose(out, np.exp(x.astype(np.float64)), rtol=3e-7)
    run(np.full(4, -1e4, np.float32), out[:4])
    assert not out[:4].any()


@pytest.mark.parametrize("labels", [1, 2, 5, 21])
def test_probabilities(labels: int) -> None:
    q = dense_crf(_image(), _scores(labels))
    assert q.shape == (labels, 24, 31)
    assert q.dtype == np.float32
    assert q.flags.c_contiguous
    assert q.min() >= 0
    np.testing.assert_allclose(q.sum(axis=0), 1, atol=1e-5)  # float32 sums of up to 21 numbers


@pytest.mark.parametrize("params", [CRFParams(iterations=0), CRFParams(gauss_weight=0, bilateral_weight=0)])
def test_without_messages_it_is_the_clipped_scores_normalised(params: CRFParams) -> None:
    scores = _scores(3)
    scores[0, :5] = 0
    scores[1, 3:9] = 1.7
    clipped = np.clip(scores, 1e-5, 1)
    # exp and log of float32: 3e-7 and, through logs of size 11, 1e-6.
    np.testing.assert_allclose(dense_crf(_image(), scores, params), clipped / clipped.sum(axis=0), atol=3e-6)


@pytest.mark.parametrize("engine", ["lattice", "pydensecrf"])
def test_labels_move_to_the_edge_of_the_image(engine: str) -> None:
    if engine == "pydensecrf":
        pytest.importorskip("pydensecrf")
    image = np.full((3, 40, 60), 30, np.uint8)
    image[:, :, 37:] = np.array((200, 120, 90))[:, None, None]
    ramp = np.clip((np.arange(60) - 20) / 20, 0.05, 0.95)  # crosses 0.5 at column 30, 7 away from the edge
    scores = np.broadcast_to(np.stack([1 - ramp, ramp])[:, None], (2, 40, 60))
    labels = dense_crf(image, scores, CRF_CAM, engine).argmax(axis=0)
    np.testing.assert_array_equal(labels, np.broadcast_to(np.arange(60) >= 37, (40, 60)))


def test_input_of_any_layout_is_read_and_left_alone() -> None:
    image, scores = _image(), _scores(3)
    expected = dense_crf(image, scores)
    strided = np.asfortranarray(scores.astype(np.float64))
    frozen = np.asfortranarray(image)
    for array in (strided, frozen):
        array.flags.writeable = False
    # The logs are rounded from float64 here: one unit in the last place, 1e-6, in numbers up to 11.
    np.testing.assert_allclose(dense_crf(frozen, strided), expected, atol=1e-5)
    np.testing.assert_array_equal(dense_crf(image, scores), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_tensors_in_tensors_out(dtype: torch.dtype) -> None:
    image, scores = torch.from_numpy(_image()), torch.from_numpy(_scores(3)).to(dtype).requires_grad_()
    q = dense_crf(image, scores)
    assert isinstance(q, torch.Tensor) and q.dtype == torch.float32 and not q.requires_grad
    expected = dense_crf(_image(), scores.detach().float().numpy())
    # The same numbers as float32; only float64 has more digits, see above, and float16 a coarse 1e-5.
    np.testing.assert_allclose(q.numpy(), expected, atol=1e-5)
    by_hand = np.asfortranarray(_image())
    np.testing.assert_array_equal(dense_crf(torch.from_numpy(by_hand), scores).numpy(), q.numpy())


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (3, 200)])
def test_thin_images(size: tuple[int, int]) -> None:
    q = dense_crf(_image(*size), _scores(2, *size), CRF_DEEPLAB)
    # a softmax in float32
    np.testing.assert_allclose(q.sum(axis=0), 1, atol=1e-6)


def test_threads_give_what_one_gives() -> None:
    jobs = [(_image(40 + i % 3, 50, i), _scores(2 + i % 2, 40 + i % 3, 50, i)) for i in range(12)]
    alone = [dense_crf(*job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: dense_crf(*job), jobs))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_noise_fills_and_grows_the_vertex_table() -> None:
    # 50 000 random colours at a narrow width have about 6 vertices each, more than the first table holds.
    q = dense_crf(_image(200, 250), _scores(2, 200, 250), CRF_DEEPLAB)
    # a softmax in float32
    np.testing.assert_allclose(q.sum(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("image", "scores", "name"),
    [
        (_image().astype(np.float32), _scores(2), "image must be uint8, got float32"),
        (_image()[0], _scores(2), r"image must be \(3, H, W\)"),
        (np.zeros((4, 24, 31), np.uint8), _scores(2), "image"),
        (_image().transpose(1, 2, 0), _scores(2), r"got \(24, 31, 3\); put the channels first"),
        (np.zeros((3, 0, 31), np.uint8), np.zeros((2, 0, 31), np.float32), "image"),
        (_image(), _scores(2, 31, 24), "scores"),
        (_image(), _scores(2)[0], "scores"),
        (_image(), _scores(2)[:0], "scores"),
        (_image(), np.ones((2, 24, 31), np.int64), "scores must be floating point, got int64"),
        (_image(), np.full((2, 24, 31), np.nan, np.float32), "scores holds NaN"),
        (_image(), np.full((2, 24, 31), np.inf, np.float32), "scores"),
        (_image().tolist(), _scores(2), "image must be a tensor or an array, got list"),
        (_image(), None, "scores must be .*NoneType"),
        (
            torch.from_numpy(_image()).float(),
            torch.from_numpy(_scores(2)),
            "image must be uint8, got float32",
        ),
        (_image(), torch.ones(2, 24, 31, dtype=torch.long), "scores must be floating point, got int64"),
    ],
)
def test_wrong_arrays_are_named(image: Any, scores: Any, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        dense_crf(image, scores)


def test_unknown_engine_and_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unknown CRF engine 'latice'; did you mean lattice"):
        dense_crf(_image(), _scores(2), engine="latice")
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(UserError, match="pip install pydensecrf2"):
        dense_crf(_image(), _scores(2), engine="pydensecrf")


def test_works_without_the_library_and_names_its_engine_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("pydensecrf", "pydensecrf.densecrf"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    monkeypatch.setattr(sys.modules["tag2mask.ops.lattice.crf"], "_named", set())
    with caplog.at_level(logging.INFO, "tag2mask"):
        for _ in range(3):
            assert dense_crf(_image(), _scores(2)).shape == (2, 24, 31)
    assert [record.getMessage() for record in caplog.records] == ["dense CRF: engine lattice"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("iterations", -1),
        ("iterations", 2.5),
        ("gauss_sxy", 0),
        ("bilateral_srgb", -3),
        ("gauss_weight", np.nan),
    ],
)
def test_wrong_settings_are_named(setting: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{setting} is {value}"):
        CRFParams(**{setting: value})


def test_too_narrow_kernel_for_the_image() -> None:
    with pytest.raises(ValueError, match="larger standard deviations"):
        dense_crf(_image(), _scores(2), CRFParams(bilateral_sxy=1e-3, bilateral_srgb=1e-3))


@pytest.mark.parametrize(
    "features", [np.zeros((2, 3)), np.zeros(5, np.float32), np.zeros((2, 0), np.float32)]
)
def test_lattice_of_wrong_features(features: Any) -> None:
    with pytest.raises(ValueError, match="features"):
        build_lattice(features)


def test_published_settings() -> None:
    assert CRFParams() == CRF_CAM == CRFParams(10, 3, 3, 80, 13, 10)
    assert CRFParams(10, 1, 3, 67, 3, 4) == CRF_DEEPLAB


def test_scores_from_hard_labels() -> None:
    labels = np.array([[0, 2, 255]], np.uint8)
    expected = [[0.7, 0.15, 1 / 3], [0.15, 0.15, 1 / 3], [0.15, 0.7, 1 / 3]]
    scores = unary_from_labels(labels, 3)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores[:, 0], expected, rtol=1e-6)  # float32
    np.testing.assert_array_equal(unary_from_labels(np.array([[0, 255]], np.uint8), 1), np.ones((1, 1, 2)))


@pytest.mark.parametrize(
    ("labels", "classes", "probability", "name"),
    [
        (np.array([[3]], np.uint8), 3, 0.7, "labels: found 3"),
        (np.zeros((2, 2), np.int64), 3, 0.7, "labels"),
        (np.zeros((0, 2), np.uint8), 3, 0.7, "labels"),
        (np.zeros((2, 2), np.uint8), 0, 0.7, "num_classes"),
        (np.zeros((2, 2), np.uint8), 3, 1.0, "probability"),
    ],
)
def test_wrong_hard_labels_are_named(labels: Any, classes: int, probability: float, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        unary_from_labels(labels, classes, probability)
