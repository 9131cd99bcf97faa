"""Superpixels against scikit-image: the same label at every pixel, ties of equal edges included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tag2mask.ops import felzenszwalb

theirs = pytest.importorskip("skimage.segmentation").felzenszwalb
SETTINGS = [(100, 0.8, 50), (1, 0, 1), (50, 0, 20), (300, 2.0, 5), (30, 7.3, 0)]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 45),
    width=st.integers(1, 45),
    settings_=st.sampled_from(SETTINGS),
    levels=st.sampled_from([256, 3]),
    gray=st.booleans(),
)
def test_noise_and_images_of_few_colours(seed, height, width, settings_, levels, gray):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, levels, (height, width, 1 if gray else 3)) * (255 // (levels - 1))
    image = np.broadcast_to(values, (height, width, 3)).astype(np.uint8)
    ours = felzenszwalb(image.transpose(2, 0, 1), *settings_)
    np.testing.assert_array_equal(ours, theirs(image, *settings_))


@pytest.mark.real
@pytest.mark.parametrize("settings_", [SETTINGS[0], SETTINGS[2]])
def test_real_images(animals: Path, settings_):
    for path in sorted((animals / "JPEGImages").glob("*.jpg"))[::250]:
        image = np.asarray(Image.open(path).convert("RGB"))
        for one in (image, image // 64 * 64):  # the second has many equal edges
            ours = felzenszwalb(one.transpose(2, 0, 1), *settings_)
            np.testing.assert_array_equal(ours, theirs(one, *settings_))
