"""Score maps of one image in memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from tag2mask.core import ScoreMaps


def test_what_does_not_fit_is_refused() -> None:
    for maps, classes, words in (
        (np.zeros((2, 3)), [0, 1], r"shape \(M, h, w\)"),
        (np.zeros((2, 3, 3)), [0], "2 different indices, got"),
        (np.zeros((2, 3, 3)), [1, 1], "2 different indices, got"),
        (np.zeros((1, 3, 3)), [-1], "1 different indices, got"),
    ):
        with pytest.raises(ValueError, match=words):
            ScoreMaps("a", maps, classes, (3, 3))
    with pytest.raises(TypeError, match=r"use tensor\.cpu\(\)\.numpy\(\)"):
        ScoreMaps("a", torch.zeros(1, 3, 3), [1], (3, 3))  # type: ignore[arg-type]


def test_values_become_plain_ones() -> None:
    scores = ScoreMaps("a", np.zeros((1, 2, 2)), np.array([3]), (np.int64(4), np.int64(5)))  # type: ignore[arg-type]
    assert scores.classes == (3,) and type(scores.classes[0]) is int
    assert scores.image_size == (4, 5) and type(scores.image_size[0]) is int


def test_dense_puts_each_map_to_its_class() -> None:
    maps = np.array([2.0, 3.0], np.float32)[:, None, None]
    dense = ScoreMaps("a", maps, [0, 2], (1, 1)).dense(4)
    assert dense.dtype == np.float32 and dense.flatten().tolist() == [2, 0, 3, 0]
    assert ScoreMaps("a", maps[:0], [], (8, 8)).dense(2).tolist() == [[[0]], [[0]]]


def test_lightning_leaves_maps_in_main_memory() -> None:
    scores = ScoreMaps("a", np.zeros((1, 2, 2)), [1], (2, 2))
    batch = [{"id": "a", "maps": scores}]
    (moved,) = pl.LightningModule().transfer_batch_to_device(batch, torch.device("cpu"), 0)
    assert moved["maps"] is scores


def test_artifacts_and_core_do_without_torch() -> None:
    code = "import sys, tag2mask.core, tag2mask.artifacts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
