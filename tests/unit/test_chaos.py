"""What `make chaos` takes for the same files, and for an answer."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks.chaos.compare import differences, odd_names
from benchmarks.chaos.strikes import Struck

OUT, LAST, MANIFEST = Path("out/a.png"), Path("checkpoints/last.ckpt"), Path("manifest.json")


def write_run(run: Path, seconds: float) -> Path:
    """A run with one step; its times and its folder are its own."""
    step = run / "cam"
    for path in (OUT, LAST):
        (step / path).parent.mkdir(parents=True, exist_ok=True)
    (step / OUT).write_bytes(b"labels")
    state = {"weight": torch.arange(3.0), "empty": torch.tensor(math.pi)}
    torch.save({"state_dict": state, "where": [f"{run}/cam/checkpoints"], "epoch": 3}, step / LAST)
    record = {"complete": True, "seconds": seconds, "peak_memory_mb": seconds, "fingerprint": str(run)}
    manifest = {"kind": "maps", "parents": {"cam": str(run)}, "commands": {"fit": record}}
    (step / MANIFEST).write_text(json.dumps(manifest))
    (step / "log.txt").write_text(f"{seconds}")
    (run / "scorecard.json").write_text(json.dumps({"steps": {"cam": 0.5}, "seconds": {"cam": seconds}}))
    return step


@pytest.fixture
def steps(tmp_path: Path) -> tuple[Path, Path]:
    return write_run(tmp_path / "whole", 1.0), write_run(tmp_path / "struck", 2.0)


def test_times_and_folders_are_no_difference(steps: tuple[Path, Path]) -> None:
    assert differences(*steps) == []
    assert odd_names(steps[0].parent, steps[1].parent) == []


def change_weight(step: Path) -> None:
    checkpoint = torch.load(step / LAST, weights_only=True)
    weight = checkpoint["state_dict"]["weight"]
    weight[1] = torch.nextafter(weight[1], torch.tensor(2.0))
    torch.save(checkpoint, step / LAST)


def change_manifest(step: Path) -> None:
    manifest = json.loads((step / MANIFEST).read_text())
    manifest["commands"]["fit"]["complete"] = False
    (step / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda step: (step / OUT).write_bytes(b"labelz"), str(OUT)),
        (lambda step: (step / OUT).unlink(), str(OUT)),
        (lambda step: (step / "out" / ".a.png.k2j3h4g5.tmp").touch(), "out/.a.png.k2j3h4g5.tmp"),
        (change_weight, str(LAST)),
        (change_manifest, str(MANIFEST)),
    ],
)
def test_every_other_difference_is_named(
    change: Callable[[Path], object], name: str, steps: tuple[Path, Path]
) -> None:
    change(steps[1])
    assert differences(*steps) == differences(*reversed(steps)) == [name]


def test_a_step_that_was_made_again_is_named(steps: tuple[Path, Path]) -> None:
    """Its files are the same in the end, but its work was lost."""
    shutil.copytree(steps[1], steps[1].with_name("cam.previous"))
    card = steps[1].parent / "scorecard.json"
    card.write_text(json.dumps({"steps": {"cam": 0.6}, "seconds": {"cam": 2.0}}))
    assert odd_names(steps[0].parent, steps[1].parent) == ["cam.previous", "scorecard.json"]


@pytest.mark.parametrize(
    ("kind", "code", "said", "fault"),
    [
        ("power cut", -9, "", ""),
        ("power cut", 0, "", "exit code 0"),
        ("stage killed", 137, "step cam (fit) failed with exit code 137", ""),
        ("stage killed", 1, "the report could not be written (exit code 137); the scores are complete", ""),
        ("stage killed", 1, "error: something", "exit code 1"),
        ("SIGTERM", 75, "stopped; go on with: tag2mask run", ""),
        ("SIGUSR1", 143, "", "exit code 143"),
        ("SIGTERM", 75, "Traceback (most recent call last)", "a traceback"),
        ("disk full", 2, "error: cannot write x; make room", ""),
        ("disk full", 2, "error: something", "nothing is said of the disk"),
        ("image gone", 2, "error: a.jpg does not exist", ""),
        ("image gone", 2, "error: an image is gone", "exit code 2, and the image is not named"),
    ],
)
def test_answers(kind: str, code: int, said: str, fault: str) -> None:
    assert Struck("psa", "cam", kind, code, said).fault(Path("a.jpg")) == fault
