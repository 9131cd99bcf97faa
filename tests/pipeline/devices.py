"""Steps of one process and of several, side by side: both must leave the same."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


def run_steps(commands: Sequence[Sequence[str]]) -> str:
    """What commands of steps print, one after another in one process whose devices are forks of it."""
    words = [sys.executable, "-m", "tests.pipeline.forked", json.dumps(commands)]
    done = subprocess.run(
        words, check=False, capture_output=True, text=True, timeout=1000,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-9000:]
    return done.stdout + done.stderr


def on_devices(world: int) -> dict[str, object]:
    """Settings of a step that is shared by some processes of this CPU."""
    return {
        "trainer__devices": world,
        "trainer__strategy": "ddp_fork" if world > 1 else "auto",
        "trainer__accelerator": "cpu",
        "trainer__enable_progress_bar": False,
        "trainer__log_every_n_steps": 1,
    }


def same_training(alone: Path, shared: Path, without: Collection[str] = ()) -> None:
    """Losses and scores of two step folders, and the weights but for some, are the same."""
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
    for name in weights[0].keys() - set(without):
        torch.testing.assert_close(weights[1][name], weights[0][name], rtol=0, atol=1e-5)


def same_files(alone: Path, shared: Path) -> int:
    """How many files two step folders hold, which are the same; stored numbers up to their last digit."""
    files = [{p.relative_to(f): p for p in (f / "out").rglob("*.*")} for f in (alone, shared)]
    assert files[0].keys() == files[1].keys()
    for name, path in files[0].items():
        if path.read_bytes() != files[1][name].read_bytes():
            _close(path, files[1][name])
    return len(files[0])


def _close(path: Path, other: Path) -> None:
    if path.suffix == ".npz":
        first, second = np.load(path), np.load(other)
        for part in first.files:
            # maps lie in 0..1, where float16 has steps of up to 2^-11
            np.testing.assert_allclose(second[part], first[part], rtol=0, atol=2**-11)
    elif path.suffix == ".npy":
        # features after some layers of float32 sums in another order
        np.testing.assert_allclose(np.load(other), np.load(path), rtol=1e-4, atol=1e-4)
    else:
        assert path.parent.name == "confidence", f"{path} and {other} differ"
        grays = [np.asarray(Image.open(file), dtype=int) for file in (path, other)]
        assert np.abs(grays[0] - grays[1]).max() <= 1  # one of 255 steps


def _number(text: str) -> float:
    return float(text) if text else -1.0
