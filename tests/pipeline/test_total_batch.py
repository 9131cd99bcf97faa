"""One, two and three processes train and predict the same: 7 images in steps of 6."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.devices import on_devices, run_steps, same_training
from tests.step_files import step_file

WORLDS = (1, 2, 3)
STEPS = {"cam": ("psa", "classifier"), "segmentation": ("psa:supervised", "segmentation")}


def _commands(folder: Path, root: Path, world: int) -> list[list[str]]:
    """What every process must agree on, and nothing random inside the network."""
    found = []
    for step, (recipe, script) in STEPS.items():
        settings = {
            "data__init_args__dataset__init_args__root": str(root),
            "data__init_args__batch_size": 6,
            "model__init_args__backbone__batchnorm": "frozen",
            "trainer__max_epochs": 2,
            **on_devices(world),
        }
        if step == "cam":
            settings["model__init_args__dropout"] = 0.0
        else:
            settings["model__init_args__start"] = "weights"
        path = step_file(folder / f"{step}.yaml", recipe, step, "tiny", "voc", **settings)
        for command in ("fit", "predict"):
            found.append([script, command, "--config", str(path), "--step-dir", str(folder / step)])
    return found


@pytest.fixture(scope="module")
def runs(odd_voc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders 1, 2 and 3, named by the number of processes."""
    folder = tmp_path_factory.mktemp("worlds")
    commands = [c for world in WORLDS for c in _commands(folder / str(world), odd_voc, world)]
    printed = run_steps(commands)
    assert "batches of 6 images in all: 2 on each of 3 devices" in printed
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("world", WORLDS[1:])
def test_devices_change_nothing(runs: Path, step: str, world: int) -> None:
    alone, shared = runs / "1" / step, runs / str(world) / step
    same_training(alone, shared)
    files = [{p.relative_to(f): p.read_bytes() for p in (f / "out").rglob("*.*")} for f in (alone, shared)]
    assert len(files[0]) >= (7 if step == "cam" else 3)
    assert files[0] == files[1]
