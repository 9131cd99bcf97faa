"""Otsu's threshold against scikit-image: the same number, not only a near one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tag2mask.ops import otsu_threshold

threshold_otsu = pytest.importorskip("skimage.filters").threshold_otsu


@given(seed=st.integers(0, 10**6), kind=st.sampled_from([np.float32, np.float64]), shape=st.integers(0, 3))
def test_maps(seed, kind, shape):
    rng = np.random.default_rng(seed)
    values = [
        rng.random((20, 30)),
        rng.normal(size=(20, 30)) ** 2,
        np.concatenate([rng.normal(0, 1, 500), rng.normal(5, 0.3, 200)]),
        np.clip(rng.normal(0.2, 0.5, (20, 30)), 0, 1),  # as activation maps, with many zeros
    ][shape].astype(kind)
    assert otsu_threshold(values) == threshold_otsu(values)


@given(seed=st.integers(0, 10**6), kind=st.sampled_from([np.uint8, np.int64]))
def test_integers(seed, kind):
    rng = np.random.default_rng(seed)
    values = rng.integers(-40 if kind == np.int64 else 0, rng.integers(2, 200), (15, 15)).astype(kind)
    assert otsu_threshold(values) == threshold_otsu(values)


def test_flat():
    assert otsu_threshold(np.full((3, 3), 0.25)) == threshold_otsu(np.full((3, 3), 0.25))


@pytest.mark.real
def test_real_images(animals: Path):
    for path in sorted((animals / "JPEGImages").glob("*.jpg"))[::150]:
        gray = np.asarray(Image.open(path).convert("L"))
        assert otsu_threshold(gray) == threshold_otsu(gray)
        assert otsu_threshold(gray / 255) == threshold_otsu(gray / 255)
