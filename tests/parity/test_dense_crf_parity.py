"""The lattice engine against pydensecrf, the C++ library of the published results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tag2mask.ops import CRF_CAM, CRF_DEEPLAB, CRF_LABELS, CRFParams, dense_crf, unary_from_labels

pytest.importorskip("pydensecrf.densecrf")

SETTINGS = pytest.mark.parametrize(
    "params", [CRF_CAM, CRF_LABELS, CRF_DEEPLAB], ids=["cam", "labels", "deeplab"]
)


def _textured_image(height: int, width: int, seed: int) -> npt.NDArray[np.uint8]:
    """Smooth colour clouds at two scales, a disc, and sensor noise."""
    rng = np.random.default_rng(seed)
    layers = [_smooth(rng.random((3, height // s + 2, width // s + 2)), height, width) for s in (60, 7)]
    image = 180 * layers[0] + 50 * layers[1] + rng.normal(0, 3, (3, height, width))
    y, x = np.mgrid[:height, :width]
    image[:, (y - height / 2) ** 2 + (x - width / 3) ** 2 < (height / 4) ** 2] += 40
    return np.clip(image, 0, 255).astype(np.uint8)


def _smooth(maps: npt.NDArray[np.float64], height: int, width: int) -> npt.NDArray[np.float32]:
    resized = [
        Image.fromarray(m.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC) for m in maps
    ]
    return np.clip(np.stack([np.asarray(m) for m in resized]), 0, 1)


def _scores(labels: int, image: npt.NDArray[np.uint8], seed: int) -> npt.NDArray[np.float32]:
    """Maps as smooth as class activation maps: a number for every 16 pixels, enlarged."""
    height, width = image.shape[1:]
    coarse = np.random.default_rng(seed).random((labels, height // 16 + 1, width // 16 + 1))
    return _smooth(coarse, height, width)


def _assert_same(image: npt.NDArray[np.uint8], scores: npt.NDArray[np.float32], params: CRFParams) -> None:
    ours = dense_crf(image, scores, params)
    theirs = dense_crf(image, scores, params, engine="pydensecrf")
    # Equal but for the order of float32 sums; pixels that waver between two labels amplify that over 10
    # steps, so the bound on labels is the promise (1 pixel in 10 000) and that on numbers is on their mean.
    assert (ours.argmax(axis=0) == theirs.argmax(axis=0)).mean() >= 0.9999
    assert np.abs(ours - theirs).mean() < 1e-5


@SETTINGS
@pytest.mark.parametrize(("labels", "size"), [(2, (180, 240)), (3, (181, 243)), (7, (120, 160))])
def test_generated_images(params: CRFParams, labels: int, size: tuple[int, int]) -> None:
    image = _textured_image(*size, seed=labels)
    _assert_same(image, _scores(labels, image, labels), params)


@SETTINGS
def test_gray_and_flat_images_lie_on_borders_of_simplices(params: CRFParams) -> None:
    gray = np.repeat(_textured_image(120, 160, 5)[:1], 3, axis=0)
    flat = np.full((3, 60, 80), 128, np.uint8)
    for image in (gray, flat):
        _assert_same(image, _scores(3, image, 6), params)


def test_hard_labels() -> None:
    image = _textured_image(120, 160, 8)
    labels = _scores(4, image, 9).argmax(axis=0).astype(np.uint8)
    labels[40:60, 30:90] = 255
    _assert_same(image, unary_from_labels(labels, 4), CRF_LABELS)


def test_scores_that_do_not_sum_to_one() -> None:
    image = _textured_image(120, 160, 10)
    scores = _scores(3, image, 11)
    scores[0] = scores[0] ** 24
    _assert_same(image, scores, CRF_CAM)


@pytest.mark.real
@SETTINGS
def test_real_images(animals: Path, params: CRFParams) -> None:
    paths = sorted((animals / "JPEGImages").glob("*.jpg"))
    for index in (5, 300, 640):
        image = np.asarray(Image.open(paths[index]).convert("RGB")).transpose(2, 0, 1)
        scores = _scores(2 + index % 3, image, index)
        scores[0] **= 8  # a weak background, as maps from (1 - max)^alpha have
        _assert_same(image, scores, params)
