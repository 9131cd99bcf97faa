"""All steps of each recipe in one process and in two: nothing changes but what dropout draws."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tag2mask.pipeline import Choice, Step, load_recipe
from tests.pipeline.devices import on_devices, run_steps, same_files, same_training
from tests.step_files import LIBRARY, settings_file

RECIPES = {"psa": None, "sc_cam": 1, "rrm": None, "ial": 1, "self_guided": 1, "irn": None, "seam": None}
"""Recipe -> its rounds. Of best, whose networks are psa's, a fold has too few images here for two."""
OWN = {"seam": {"cam"}}
"""Steps of a recipe whose others are psa's, but without the CRF that labels of psa have at this budget: there
scores that tie but for the last digit of float16 become labels."""
DROPOUT = {"cam": "dropout", "cam_1": "dropout", "joint": "classification__dropout", "regions_1": "dropout"}
"""Steps that draw dropout, which each device does for itself."""
FREE = ["aggregation.bias"]
"""Of self_guided, without a gradient, for distances do not depend on it: AdamW moves it by rounding alone."""


def _changes(step: Step, folder: Path, root: Path, world: int) -> dict[str, Any]:
    found = {"data__init_args__dataset__init_args__root": str(root), **on_devices(world)}
    if step.trains:
        # 7 images in batches of 2
        found |= {"data__init_args__batch_size": 2, "model__init_args__backbone__batchnorm": "frozen"}
        found |= {"trainer__max_epochs": 2, "trainer__max_steps": -1, "trainer__min_steps": None}
    if step.name in DROPOUT:
        found[f"model__init_args__{DROPOUT[step.name]}"] = 0.0
    return found | {option.replace(".", "__"): str(folder / name) for option, name in step.inputs.items()}


@pytest.mark.skipif("DEVICES_TEST" not in os.environ, reason="takes minutes: run by make devices-test")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_devices_change_nothing(recipe: str, odd_voc: Path, tmp_path: Path) -> None:
    steps = load_recipe(LIBRARY, recipe, "", budget="tiny", rounds=RECIPES[recipe]).steps
    steps = [step for step in steps if step.name in OWN.get(recipe, {step.name})]
    alone, shared = folders = [tmp_path / str(world) for world in (1, 2)]
    for world, folder in enumerate(folders, 1):
        commands = []
        for step in steps:
            changes = _changes(step, folder, odd_voc, world)
            path = settings_file(folder / f"{step.name}.yaml", step, Choice("tiny"), "voc", **changes)
            given = ["--config", str(path), "--step-dir", str(folder / step.name)]
            commands += [[step.script, command, *given] for command in step.commands]
        run_steps(commands)
    for step in steps:
        if step.trains:
            same_training(alone / step.name, shared / step.name, FREE)
        if "predict" in step.commands:
            assert same_files(alone / step.name, shared / step.name) >= 3
