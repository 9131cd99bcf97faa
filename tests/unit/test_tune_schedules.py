"""Runs that were trained with other schedules, compared without masks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tag2mask import cli
from tag2mask.artifacts import load_maps, read_manifest, save_maps, write_manifest
from tag2mask.backbones import BackboneSpec
from tag2mask.core import ScoreMaps
from tag2mask.data import Shapes
from tag2mask.modules import Classifier
from tag2mask.tune import bench, read_chain
from tag2mask.tune.schedules import compare_runs
from tests.unit.test_tune import BACKGROUND, CRF, write_step

SIZE = (64, 64)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two runs on the same images: maps of noise, and maps of the true shapes; each has its own network."""
    dataset = Shapes(str(tmp_path / "shapes"), train=4, val=1, size=SIZE)
    dataset.make()
    noise, good = tmp_path / "noise", tmp_path / "good"
    noise.mkdir()
    write_step(noise / "cam", "maps", dataset, "train")
    write_step(noise / "pseudo_label", "labels", dataset, "train", refinements=[BACKGROUND, CRF])
    shutil.copytree(noise, good)
    path = good / "pseudo_label" / "predict.yaml"
    path.write_text(path.read_text().replace("/noise/", "/good/"))
    rng = np.random.default_rng(0)
    for image_id in dataset.ids("train"):
        classes = [dataset.classes.all_names.index(name) for name in dataset.tag_names(image_id)]
        mask = dataset.read_mask(image_id)
        assert mask is not None
        truth = np.stack([mask == k for k in classes]).astype(np.float32)
        for folder, maps in ((noise, rng.random(truth.shape, np.float32)), (good, truth)):
            save_maps(folder / "cam" / "out", ScoreMaps(image_id, maps, classes, SIZE), dataset.classes)
    networks: dict[Path, Classifier] = {}

    def network(folder: Path, *_: Any) -> Classifier:
        torch.manual_seed(len(networks))
        fresh = Classifier(len(dataset.classes), BackboneSpec("test_resnet", weights="none")).eval()
        return networks.setdefault(folder, fresh)

    monkeypatch.setattr(bench, "load_network", network)
    return noise, good


def test_one_classifier_is_asked_about_all_labels(runs: tuple[Path, Path], tmp_path: Path) -> None:
    """The same maps in two runs have the same labels, whatever their own networks would say of these."""
    noise, good = runs
    chains = {name: read_chain(run) for name, run in (("good", good), ("noise", noise))}
    dataset = Shapes(str(tmp_path / "shapes"), train=4, val=1, size=SIZE)
    for image_id in dataset.ids("train"):
        maps = load_maps(good / "cam" / "out", image_id, dataset.classes)
        save_maps(noise / "cam" / "out", maps, dataset.classes)
    found = compare_runs(chains, 3)
    for one, other in zip(*found.rows, strict=True):
        assert all(one[signal] == other[signal] for signal in ("classifier", "edges", "foreground"))
    assert found.chosen == 0 and len(found.images) == 3
    (gained,) = found.gains[1:]
    assert gained is not None and gained.mean == 0


def test_the_run_with_the_better_labels_is_named(
    runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A classifier that wants small labels, since an untrained one wants nothing; noise makes large ones."""
    noise, good = runs
    monkeypatch.setattr(bench, "evidence", lambda _, pixels, labels, tags: float((labels == 0).mean()))
    assert cli.main(["tune", str(noise), "--schedules", str(good)]) == 0
    printed = capsys.readouterr().out
    assert f"chosen: {good}" in printed and printed.endswith(f"next: tag2mask tune {good}\n")
    plain = json.loads((noise / "tune" / "schedules.json").read_text())
    assert [trial["name"] for trial in plain["trials"]] == [str(noise), str(good)]
    page = (noise / "tune" / "schedules.html").read_text()
    assert page.count("<figcaption>") == 4 * 3 and "https:" not in page
    assert not (noise / "tune" / "settings.yaml").exists()
    assert cli.main(["tune", str(good), "--schedules", str(noise)]) == 0
    assert f"chosen: {good}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_ids": ["other"]}, "has none of the images of"),
        ({"classes": {"names": ["a"], "ids": [1]}}, "has other classes than"),
    ],
)
def test_runs_on_other_data(
    runs: tuple[Path, Path], change: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    noise, good = runs
    manifest = read_manifest(good / "cam")
    assert manifest is not None
    for name, value in change.items():
        setattr(manifest, name, value)
    write_manifest(good / "cam", manifest)
    assert cli.main(["tune", str(noise), "--schedules", str(good)]) == 2
    assert f"{good} {message}" in capsys.readouterr().err


def test_a_run_is_not_compared_with_itself(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """It was told that all of its labels were empty or full."""
    good = runs[1]
    assert cli.main(["tune", str(good), "--schedules", f"{good}/"]) == 2
    assert f"--schedules {good}/ is the run itself" in capsys.readouterr().err
