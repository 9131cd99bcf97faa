"""Labels that an earlier step has to agree with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tag2mask.artifacts import Manifest, save_labels, write_manifest
from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import ClassList, ScoreMaps, UserError
from tag2mask.modules import PseudoLabelGenerator

CLASSES = ClassList(("cat", "person"), (8, 15))
EARLIER = np.array([[8, 15, 255, 0, 8, 255]], np.uint8)
"""Mask ids: 0, 8 and 15 are background, class 1 and class 2."""


def finished(folder: Path, ids: npt.NDArray[np.uint8]) -> StepFolder:
    save_labels(folder / "out" / "a.png", ids)
    made = Manifest(step="labels", kind="labels", recipe="psa", classes=CLASSES.to_dict())
    made.image_ids, made.complete = ["a"], True
    write_manifest(folder, made)
    return StepFolder(folder)


def labels(**arguments: Any) -> list[list[int]]:
    """The maps say class 1 in the left half, and background in the right one."""
    foreground = np.array([[0.9, 0.9, 0.9, 0.1, 0.1, 0.1]], np.float32)
    scores = ScoreMaps("a", np.stack([1 - foreground, foreground]), [0, 1], (1, 6))
    sample: Any = {"id": "a", "image": torch.zeros(3, 1, 6, dtype=torch.uint8), "maps": scores}
    result: Any = PseudoLabelGenerator(**arguments).predict_image(sample)
    assert result.labels[""].dtype == np.uint8
    return result.labels[""].tolist()


def test_labels_stay_where_the_earlier_step_says_the_same_or_nothing(tmp_path: Path) -> None:
    assert labels() == [[1, 1, 1, 0, 0, 0]]
    assert labels(agreement_dir=finished(tmp_path, EARLIER)) == [[1, 255, 1, 0, 255, 0]]


def test_labels_of_a_very_large_image_are_compared_at_the_size_that_is_worked_at(tmp_path: Path) -> None:
    """Earlier labels have the size of the image; here it is worked on at half of it."""
    doubled = finished(tmp_path, EARLIER.repeat(2, 0).repeat(2, 1))
    assert labels(agreement_dir=doubled) == [[1, 255, 1, 0, 255, 0]]


def test_a_step_that_is_not_there_and_labels_that_are_lost_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        labels(agreement_dir=StepFolder(tmp_path / "missing"))
    step = finished(tmp_path, EARLIER)
    (tmp_path / "out" / "a.png").unlink()
    with pytest.raises(UserError, match=r"no label map at .*a\.png"):
        labels(agreement_dir=step)
