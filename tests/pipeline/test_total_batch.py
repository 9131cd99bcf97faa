"""One, two and three processes train and predict the same: 7 images in steps of 6."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

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
            "trainer__devices": world,
            "trainer__strategy": "ddp_fork" if world > 1 else "auto",
            "trainer__accelerator": "cpu",
            "trainer__enable_progress_bar": False,
            "trainer__log_every_n_steps": 1,
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
    words = [sys.executable, "-m", "tests.pipeline.forked", json.dumps(commands)]
    done = subprocess.run(
        words, check=False, capture_output=True, text=True, timeout=1000,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-9000:]
    assert "batches of 6 images in all: 2 on each of 3 devices" in done.stdout + done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("world", WORLDS[1:])
def test_devices_change_nothing(runs: Path, step: str, world: int) -> None:
    alone, shared = runs / "1" / step, runs / str(world) / step
    rows = [
        list(csv.DictReader((folder / "logs" / "version_0" / "metrics.csv").open()))
        for folder in (alone, shared)
    ]
    for one, other in zip(*rows, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            if name.startswith("speed/"):
                continue
            # float32 sums in another order
            assert _number(other[name]) == pytest.approx(_number(one[name]), abs=1e-6, nan_ok=True), name
    weights = [
        torch.load(f / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for f in (alone, shared)
    ]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=1e-5)
    files = [{p.relative_to(f): p.read_bytes() for p in (f / "out").rglob("*.*")} for f in (alone, shared)]
    assert len(files[0]) >= (7 if step == "cam" else 3)
    assert files[0] == files[1]


def _number(text: str) -> float:
    return float(text) if text else -1.0
