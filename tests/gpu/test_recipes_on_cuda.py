"""Every recipe on generated images: a tiny run on the CPU, and each of its commands again on a CUDA device.

A training on the device must end with finite weights. Its weights are not compared: dropout draws other
numbers there. A prediction gets the CPU's networks and inputs, so its files must agree with the CPU's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tag2mask import cli
from tag2mask.artifacts import read_manifest
from tag2mask.data import Shapes
from tag2mask.ops.cam import precision
from tag2mask.pipeline import Step, load_recipe, runner
from tests import one_process
from tests.step_files import LIBRARY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROUNDS = {
    "psa": None,
    "sc_cam": 2,
    "rrm": None,
    "ial": 2,
    "self_guided": 2,
    "best": 1,
    "irn": None,
    "seam": None,
}
STEP_DIR, CKPT_PATH = "--step-dir", "--ckpt_path"

EQUAL_LABELS = 0.99
"""Share of pixels: those in which two classes nearly tie may change sides."""
MAP_ERROR, MEAN_MAP_ERROR = 0.02, 0.001
"""Largest and mean difference of maps in [0, 1], kept as float16. When an image is resized, the CPU rounds
one byte in a hundred the other way; these networks are hardly trained, and a cell moves by 0.012."""


@dataclass(frozen=True)
class Run:
    """A tiny run on the CPU."""

    folder: Path
    steps: Sequence[Step]


@pytest.fixture(scope="module", params=ROUNDS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder, rounds = tmp_path_factory.mktemp(request.param), ROUNDS[request.param]
    images = Shapes(str(folder / "shapes"), train=16, val=4, size=(64, 80))
    data = folder / "data.yaml"
    data.write_text(yaml.safe_dump({"data": {"init_args": {"dataset": images.describe()}}}))
    words = ["run", request.param, "--run-dir", str(folder / "cpu"), "--data", str(data), "--budget", "tiny"]
    words += ["--allow-empty"]  # networks are compared here, and after so few steps no class may be found
    words += ["--rounds", str(rounds)] if rounds else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "run_child", one_process.run_child)
        patch.setattr(precision, "multiplies_bfloat16", lambda device: False)
        assert cli.main([*words, "--", "--trainer.accelerator", "cpu"]) == 0
    recipe = load_recipe(LIBRARY, request.param, rounds=rounds)
    return Run(folder, recipe.steps)


def test_every_step_on_the_device_is_as_on_the_cpu(run, device, monkeypatch):
    # Both in float32: bfloat16 is another computation, and a test of its own.
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda _: False)
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    compared = 0
    for step in run.steps:
        here, there = run.folder / "cpu" / step.name, run.folder / "device" / step.name
        for command in step.commands:
            words = ["step", step.script, command, "--config", str(here / f"{command}.yaml")]
            words += [STEP_DIR, str(there), "--trainer.accelerator", accelerator]
            if command == "predict" and "fit" in step.commands:
                words += [CKPT_PATH, str(here / read_manifest(here).checkpoint)]
            assert cli.main(words) == 0, f"{step.name} {command}"
        if "fit" in step.commands:
            assert_finite(there / read_manifest(there).checkpoint)
        if "predict" in step.commands:
            compared += compare(here / "out", there / "out")
    assert compared > 0


def assert_finite(checkpoint: Path) -> None:
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    for name, value in state.items():
        assert value.isfinite().all(), name


def compare(expected: Path, found: Path) -> int:
    """Compare all result files of a step; the number of them."""
    names = sorted(str(p.relative_to(expected)) for p in expected.rglob("*") if p.suffix in (".npz", ".png"))
    assert names == sorted(
        str(p.relative_to(found)) for p in found.rglob("*") if p.suffix in (".npz", ".png")
    )
    shares = []
    for name in names:
        if name.endswith(".npz"):
            compare_arrays(expected / name, found / name)
        elif "confidence" not in name:
            one, other = (np.asarray(Image.open(folder / name)) for folder in (expected, found))
            assert one.shape == other.shape
            shares.append(float((one == other).mean()))
    assert not shares or np.mean(shares) >= EQUAL_LABELS, f"{expected}: labels equal on {np.mean(shares):.4f}"
    return len(names)


def compare_arrays(expected: Path, found: Path) -> None:
    with np.load(expected) as one, np.load(found) as other:
        assert sorted(one) == sorted(other)
        for key in one:
            assert one[key].shape == other[key].shape, f"{expected} {key}"
            if one[key].dtype.kind == "f":
                unit = max(1.0, float(np.abs(one[key]).max()))
                error = np.abs(one[key].astype(float) - other[key]) / unit
                assert error.max(initial=0) <= MAP_ERROR, f"{expected} {key}"
                assert error.size == 0 or error.mean() <= MEAN_MAP_ERROR, f"{expected} {key}"
            else:
                assert np.array_equal(one[key], other[key]), f"{expected} {key}"
