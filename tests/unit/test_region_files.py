"""Superpixels on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.artifacts import load_regions, save_regions
from tag2mask.core import UserError


def test_regions_come_back_as_they_were(tmp_path: Path) -> None:
    regions = np.array([[0, 1, 255], [256, 40000, 65535]], np.int64)
    save_regions(tmp_path / "a.png", regions)
    assert np.array_equal(load_regions(tmp_path / "a.png"), regions)


def test_regions_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for regions in (np.array([[65536]]), np.array([[-1]])):
        with pytest.raises(UserError, match="ask for larger superpixels"):
            save_regions(tmp_path / "a.png", regions)
    with pytest.raises(ValueError, match="must be integers"):
        save_regions(tmp_path / "a.png", np.zeros((2, 2)))


def test_other_files_are_no_regions(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run the step that makes them"):
        load_regions(tmp_path / "none.png")
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "gray.png")
    with pytest.raises(UserError, match="not 16 bits of gray"):
        load_regions(tmp_path / "gray.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="cannot read superpixels"):
        load_regions(tmp_path / "broken.png")
