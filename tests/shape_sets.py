"""A generated data set, and the settings of the data modules that read it in tests."""

from __future__ import annotations

from typing import Any

import pytest

from tag2mask.data import (
    Shapes,
)
from tag2mask.data.transforms import AugmentSpec

CROP = 48
CLASSIFY: dict[str, Any] = {"augment": AugmentSpec(CROP, long_side=(256, 512)), "num_workers": 0}
LEARN: dict[str, Any] = {"augment": AugmentSpec(CROP, pad="black"), "num_workers": 0}
SEGMENT: dict[str, Any] = {"augment": AugmentSpec(CROP, scale=(0.5, 1.5)), "num_workers": 0}
TRAINER: dict[str, Any] = {
    "is_global_zero": True,
    "global_rank": 0,
    "min_steps": None,
    "max_epochs": 3,
    "accumulate_grad_batches": 1,
}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    made = Shapes(str(tmp_path_factory.mktemp("data") / "shapes"), train=6, val=3)
    made.make()
    return made
