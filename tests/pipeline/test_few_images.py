"""README's own photos: 40 of them in a plain folder with a table of tags are enough to learn from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tag2mask.artifacts import read_alarms
from tag2mask.evaluate import score_step
from tag2mask.step import main
from tests.step_files import step_file

COLOURS = {"cherry": (220, 30, 40), "leaf": (30, 190, 60), "plum": (90, 40, 190)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 photos of coloured things on gray ground, and the table that somebody typed."""
    root, rng, lines = tmp_path_factory.mktemp("photos"), np.random.default_rng(0), ["image,labels"]
    (root / "images").mkdir()
    for number in range(40):
        names = list(rng.permutation(list(COLOURS))[: 1 + number % 2])
        picture = Image.fromarray(rng.integers(90, 140, (64, 80, 3)).astype(np.uint8))
        for place, name in enumerate(names):
            x, y = int(rng.integers(0, 14)) + 40 * place, int(rng.integers(0, 36))
            ImageDraw.Draw(picture).ellipse((x, y, x + 24, y + 24), fill=COLOURS[name])
        picture.save(root / "images" / f"{number}.jpg")
        lines.append(f"{number}.jpg,{';'.join(names)}")
    (root / "labels.csv").write_text("\n".join(lines))
    return root


def test_a_classifier_of_40_photos(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "cam"
    config = step_file(
        tmp_path / "cam.yaml", "psa", "cam", "tiny", "table",
        trainer__min_steps=64, trainer__accelerator="cpu",
        data__init_args__dataset__init_args__root=str(photos), trainer__enable_progress_bar=False,
        model__init_args__optimization__lr=0.003, model__init_args__backbone__weights="none",
    )  # fmt: skip
    for command in ("fit", "predict"):
        assert main("classifier", [command, "--config", str(config), "--step-dir", str(folder)]) == 0
    assert "2 epochs are 64 steps of the optimiser instead of 8" in capsys.readouterr().err
    labels = score_step(folder)["labels"]
    assert labels["empty"] == 0 and labels["found"] == labels["tags"]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["train/steps"] == 64
    assert metrics["val/above_chance"] > 0.5, "the colours of three things are learnt in 64 steps"
    assert read_alarms(folder) == []
