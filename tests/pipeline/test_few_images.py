"""README's own photos: 40 of them in a plain folder with a table of tags are enough to learn from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

from tag2mask.artifacts import read_alarms, save_maps
from tag2mask.core import ScoreMaps
from tag2mask.data import Shapes
from tag2mask.evaluate import score_step
from tag2mask.step import main
from tests.step_files import finished_step, step_file

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


@pytest.mark.parametrize(
    ("recipe", "step", "expected"),
    [("psa:no_walk", "pseudo_label", {".": 0.5}), ("psa", "affinity_labels", {"fg": 0.4, "bg": 0.6})],
)
def test_the_small_budget_leaves_background_in_flat_maps(
    recipe: str, step: str, expected: dict[str, float], tmp_path: Path
) -> None:
    """Every score is above 0.6, and every level below. Before the CRF, the shares are those that are set."""
    images = Shapes(str(tmp_path / "shapes"), train=6, val=1, size=(64, 64))
    images.make()
    maps, rng = finished_step(tmp_path / "cam", "maps", images), np.random.default_rng(0)
    for image_id in images.ids("train"):
        scores = rng.uniform(0.6, 1, (1, 64, 64)).astype(np.float32)
        save_maps(maps / "out", ScoreMaps(image_id, scores, [1], (64, 64)), images.classes)
    config = step_file(
        tmp_path / "step.yaml", recipe, step, "small", "shapes",
        data__init_args__dataset__init_args=images.describe()["init_args"],
        data__init_args__maps_dir=str(maps), data__init_args__num_workers=0, trainer__accelerator="cpu",
    )  # fmt: skip
    plain = yaml.safe_load(config.read_text())
    chains = [links for links in plain["model"]["init_args"].values() if isinstance(links, list)]
    assert len(chains) == len(expected)
    for links in chains:
        links[1]["init_args"]["enabled"] = False
    config.write_text(yaml.safe_dump(plain))
    words = ["predict", "--config", str(config), "--step-dir", str(tmp_path / step)]
    assert main("pseudo_labels", words) == 0
    for side, share in expected.items():
        labels = [np.asarray(Image.open(path)) for path in (tmp_path / step / "out" / side).glob("*.png")]
        # float16 on the disk: 0.1 % of the scores share a value
        assert len(labels) == 6 and np.mean([one == 1 for one in labels]) == pytest.approx(share, abs=0.01)
