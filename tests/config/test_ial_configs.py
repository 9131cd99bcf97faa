"""Every shipped configuration of IAL is started on the tiny data set, not only parsed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tag2mask.artifacts import (
    CommandRecord,
    Manifest,
    save_labels,
    save_maps,
    save_regions,
    write_manifest,
)
from tag2mask.backbones import BackboneSpec
from tag2mask.core import ScoreMaps, UserError
from tag2mask.data import VOC
from tag2mask.heads import HeadSpec
from tag2mask.modules import Classifier, SegmentationModel, TrainableNetwork
from tag2mask.pipeline import Choice, Step, load_recipe, resolve
from tag2mask.recipes.ial import PairwiseLearner
from tag2mask.recipes.ial.propagation import PropagationSpec
from tag2mask.step import main
from tests.step_files import LIBRARY, settings_file

STEPS = {s.template: s for s in load_recipe(LIBRARY, "ial", rounds=2).steps if s.name != "segmentation"}

SMALL = {
    "cam": ["--data.init_args.batch_size", "2", "--data.init_args.augment.crop", "64"],
    "unary_{round}": ["--data.init_args.batch_size", "2", "--data.init_args.augment.crop", "64"],
    "regions_{round}": ["--data.init_args.batch_size", "1", "--model.init_args.hidden", "[32]"],
    "pairwise_{round}": [
        "--data.init_args.batch_size", "1", "--data.init_args.patches.count", "1",
        "--data.init_args.patches.size", "32",
        "--data.init_args.energy_images", "1", "--trainer.val_check_interval", "1",
    ],
}  # fmt: skip
"""Sizes that two cores manage; everything else is as shipped."""


@pytest.fixture(scope="module")
def earlier(tiny_voc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with made-up results of the first round, and networks of random weights."""
    run = tmp_path_factory.mktemp("run")
    images = VOC(str(tiny_voc))
    for image_id in images.ids("train"):
        height, width = images.read_image(image_id).shape[:2]
        tagged = [int(k) + 1 for k in images.tags(image_id).nonzero()[0]]
        random = np.random.default_rng(0).random((len(tagged) + 1, height // 8, width // 8), np.float32)
        cams = ScoreMaps(image_id, random[1:], tagged, (height, width))
        unary = ScoreMaps(image_id, random, [0, *tagged], (height, width))
        save_maps(run / "cam" / "out", cams, images.classes)
        save_maps(run / "maps_1" / "out", unary, images.classes)
        labels = np.zeros((height, width), np.uint8)
        labels[:, width // 2 :] = images.classes.all_ids[tagged[0]]
        for step in ("seeds", "regions_1", "pairwise_1"):
            save_labels(run / step / "out" / f"{image_id}.png", labels)
        cells = (np.arange(height)[:, None] // 8) * (width // 8) + np.arange(width) // 8
        save_regions(run / "superpixels" / "out" / f"{image_id}.png", cells)
    kinds = {"cam": "maps", "maps_1": "maps", "seeds": "labels", "regions_1": "labels"}
    for step, kind in {**kinds, "pairwise_1": "labels", "superpixels": "superpixels"}.items():
        _manifest(run / step, kind, images)
    size = len(images.classes)
    light = BackboneSpec("test_resnet", "none")
    # The small budget's unary network starts from a classifier with its own backbone.
    classifier = Classifier(size, BackboneSpec("mobilenetv2_100", "none", 16))
    _network(run / "cam", classifier, "maps", images)
    unary = SegmentationModel(size, light, head=HeadSpec("deeplabv2"))
    _network(run / "unary_1", unary, "segmentation", images)
    pairwise = PairwiseLearner(size, light, propagation=PropagationSpec(channels=4))
    _network(run / "pairwise_1", pairwise, "labels", images)
    return run


def _manifest(folder: Path, kind: str, images: VOC, checkpoint: str = "") -> None:
    record = CommandRecord(complete=True)
    facts = {"data": images.describe(), "split": "train", "image_ids": images.ids("train")}
    commands = {"fit": record, "predict": record}
    manifest = Manifest(
        step=folder.name, kind=kind, recipe="ial", classes=images.classes.to_dict(), **facts,
        commands=commands, checkpoint=checkpoint, complete=True,
    )  # fmt: skip
    write_manifest(folder, manifest)


def _network(folder: Path, module: TrainableNetwork, kind: str, images: VOC) -> None:
    checkpoint: dict[str, object] = {}
    module.classes = images.classes
    module.on_save_checkpoint(checkpoint)
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({**checkpoint, "state_dict": module.state_dict()}, folder / "checkpoints" / "last.ckpt")
    _manifest(folder, kind, images, "checkpoints/last.ckpt")


def _start(step: Step, budget: str, root: Path, earlier: Path, folder: Path) -> int:
    config = settings_file(folder / "settings.yaml", step, Choice(budget), "voc")
    args = [step.commands[0], "--config", str(config), "--step-dir", str(folder / "step")]
    args += ["--data.init_args.dataset.init_args.root", str(root), "--data.init_args.num_workers", "0"]
    args += ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    for option, source in step.inputs.items():
        args += [f"--{option}", str(earlier / source.replace("segmentation", "unary_1").replace("_2", "_1"))]
    if step.trains:
        args += ["--model.init_args.backbone.weights", "none", "--trainer.fast_dev_run", "1"]
        args += SMALL[step.template]
    return main(step.script, args)


@pytest.mark.parametrize("budget", ["full", "small", "tiny"])
@pytest.mark.parametrize("name", STEPS)
def test_step_configuration_starts(
    name: str, budget: str, tiny_voc: Path, earlier: Path, tmp_path: Path
) -> None:
    assert _start(STEPS[name], budget, tiny_voc, earlier, tmp_path) == 0


def test_rounds_are_chained_as_in_table_5() -> None:
    recipe = load_recipe(LIBRARY, "ial")
    assert [s.name for s in recipe.steps if s.template == "unary_{round}"] == [
        "unary_1", "unary_2", "unary_3", "unary_4", "segmentation",
    ]  # fmt: skip
    labels = [s.inputs["data.init_args.labels_dir"] for s in recipe.steps if s.template == "unary_{round}"]
    assert labels == ["seeds", "pairwise_1", "pairwise_2", "pairwise_3", "pairwise_4"]
    for number in range(1, 6):
        pairwise = recipe.step(f"pairwise_{number}").inputs
        assert pairwise["data.init_args.labels_dir"] == f"regions_{number}"
        assert pairwise["data.init_args.maps_dir"] == f"maps_{number}"
        assert pairwise["data.init_args.superpixels_dir"] == "superpixels"
    assert recipe.step("maps_5").inputs == {"model.init_args.segmentation_from": "segmentation"}
    assert recipe.step("unary_pairwise").inputs["model.init_args.pairwise_from"] == "pairwise_5"
    # every number of table 5 belongs to a step
    assert set(recipe.paper["targets"]) <= {step.name for step in recipe.steps}


@pytest.mark.parametrize("rounds", [1, 2, 7])
def test_any_number_of_rounds(rounds: int) -> None:
    for variant in ("", "no_mining", "no_affinity", "no_smoothness", "cross_fit"):
        recipe = load_recipe(LIBRARY, "ial", variant, rounds)
        assert sum(s.template == "unary_{round}" for s in recipe.steps) == rounds
        assert next(s.name for s in recipe.steps if s.stage == 3) == "segmentation"


def test_variants() -> None:
    no_mining = load_recipe(LIBRARY, "ial", "no_mining")
    assert not any(s.template == "regions_{round}" for s in no_mining.steps)
    assert "data.init_args.labels_dir" not in no_mining.step("pairwise_3").inputs
    no_affinity = load_recipe(LIBRARY, "ial", "no_affinity")
    assert not any(s.template in ("pairwise_{round}", "unary_pairwise") for s in no_affinity.steps)
    assert no_affinity.step("unary_1").inputs["data.init_args.labels_dir"] == "seeds"
    assert no_affinity.step("segmentation").inputs["data.init_args.labels_dir"] == "regions_4"
    no_smoothness = load_recipe(LIBRARY, "ial", "no_smoothness")
    for number in range(1, 6):
        settings = resolve(LIBRARY, no_smoothness.step(f"pairwise_{number}"), Choice())
        assert settings["model.init_args.smoothness"].value == 0


def test_halves_of_the_images_judge_each_other() -> None:
    recipe = load_recipe(LIBRARY, "ial", "cross_fit", rounds=2)
    read = {step.name: step.inputs for step in recipe.steps}
    for number, learnt in ((1, "seeds"), (2, "pairwise_1")):
        for fold in range(2):
            half = f"half_{fold}_{number}"
            assert read[half]["data.init_args.labels_dir"] == learnt
            found = resolve(LIBRARY, recipe.step(half), Choice("small"))
            assert (found["data.init_args.fold"].value, found["data.init_args.folds"].value) == (fold, 2)
        assert read[f"fitted_{number}"] == {
            f"model.init_args.folds_from.{fold}": f"half_{fold}_{number}" for fold in range(2)
        }
        for step in ("regions", "pairwise"):
            assert read[f"{step}_{number}"]["data.init_args.maps_dir"] == f"fitted_{number}"
    assert read["segmentation"]["data.init_args.labels_dir"] == "pairwise_1"


def test_recipe_without_rounds_refuses_the_option() -> None:
    with pytest.raises(UserError, match="psa repeats no steps: leave --rounds out"):
        load_recipe(LIBRARY, "psa", rounds=3)
