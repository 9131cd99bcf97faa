"""Every shipped configuration is started on the tiny data set, not only parsed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tag2mask.artifacts import CommandRecord, Manifest, save_labels, save_maps, write_manifest
from tag2mask.core import ScoreMaps
from tag2mask.data import VOC
from tag2mask.pipeline import Step, load_recipe
from tag2mask.step import main
from tests.step_files import LIBRARY, Choice, settings_file

CONF = Path(__file__).resolve().parents[2] / "conf"
STEPS = load_recipe(LIBRARY, "psa").steps
BUDGETS = ("full", "small", "tiny", "demo")

SMALL = {
    "classifier": ["--data.init_args.batch_size", "2", "--data.init_args.augment.crop", "64"],
    "affinity": ["--data.init_args.batch_size", "2", "--data.init_args.augment.crop", "96"],
    # From weights, since the made-up run holds no trained classifier to start from.
    "segmentation": [
        *("--data.init_args.batch_size", "2", "--data.init_args.augment.crop", "64"),
        *("--model.init_args.start", "weights"),
    ],
    "pseudo_labels": [],
}
"""Sizes that two cores manage; everything else is as shipped."""


@pytest.fixture(scope="module")
def earlier(tiny_voc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with made-up maps, affinity labels and pseudo-labels of the tiny train images."""
    run = tmp_path_factory.mktemp("run")
    images = VOC(str(tiny_voc))
    for image_id in images.ids("train"):
        height, width = images.read_image(image_id).shape[:2]
        present = [int(k) + 1 for k in images.tags(image_id).nonzero()[0]]
        maps = np.random.default_rng(0).random((len(present), height // 8, width // 8), np.float32)
        scores = ScoreMaps(image_id, maps, present, (height, width))
        save_maps(run / "cam" / "out", scores, images.classes)
        labels = np.zeros((height, width), np.uint8)
        labels[:, width // 2 :] = images.classes.all_ids[present[0]]
        for folder in ("affinity_labels/out/fg", "affinity_labels/out/bg", "pseudo_label/out"):
            save_labels(run / folder / f"{image_id}.png", labels)
    kinds = {"cam": "maps", "affinity_labels": "affinity_labels", "pseudo_label": "labels"}
    for step, kind in kinds.items():
        manifest = Manifest(
            step=step,
            kind=kind,
            recipe="psa",
            classes=images.classes.to_dict(),
            data=images.describe(),
            split="train",
            image_ids=images.ids("train"),
            commands={"predict": CommandRecord(complete=True)},
            complete=True,
        )
        write_manifest(run / step, manifest)
    return run


def _arguments(step: Step, budget: str, root: Path, folder: Path) -> list[str]:
    config = settings_file(folder / "settings.yaml", step, Choice(budget), "voc")
    args = [step.commands[0], "--config", str(config), "--step-dir", str(folder / "step")]
    args += ["--data.init_args.dataset.init_args.root", str(root), "--data.init_args.num_workers", "0"]
    if step.trains:
        args += ["--model.init_args.backbone.weights", "none", "--trainer.fast_dev_run", "1"]
    return [*args, *SMALL[step.script], "--trainer.accelerator", "cpu"]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_step_configuration_starts(
    step: Step, budget: str, tiny_voc: Path, earlier: Path, tmp_path: Path
) -> None:
    args = _arguments(step, budget, tiny_voc, tmp_path)
    for option, source in step.inputs.items():
        folder = earlier / (source if (earlier / source).is_dir() else "cam")
        if option != "model.init_args.affinity_from":
            args += [f"--{option}", str(folder)]
    if step.name == "walk":
        # The walk itself needs a trained AffinityNet: the tiny run of tests/pipeline makes one.
        args += ["--model.init_args.refinements", "[]"]
    assert main(step.script, args) == 0


@pytest.mark.parametrize("path", sorted((CONF / "logger").glob("*.yaml")), ids=lambda p: p.name)
def test_logger_configuration_starts(
    path: Path, tiny_voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    args = _arguments(STEPS[0], "small", tiny_voc, tmp_path)
    at = args.index("--trainer.fast_dev_run")
    args[at : at + 2] = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1"]
    args += ["--config", str(path), "--trainer.log_every_n_steps", "1", "--trainer.limit_val_batches", "1"]
    assert main("classifier", args) == 0
    logs = [p for p in (tmp_path / "step").rglob("*") if p.is_file() and "checkpoints" not in p.parts]
    expected = {"csv": "metrics.csv", "tensorboard": "events.out", "wandb": ".wandb"}[path.stem]
    assert any(expected in p.name for p in logs)
