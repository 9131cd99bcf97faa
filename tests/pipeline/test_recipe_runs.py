"""The recipes on generated images: a tiny run of each from end to end, and every configuration started."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from tag2mask import load
from tag2mask.artifacts import read_manifest
from tag2mask.artifacts.label_chain import is_tunable
from tag2mask.data import Shapes
from tag2mask.pipeline import Choice, Recipe, Step, load_recipe
from tag2mask.step import main
from tests import one_process
from tests.step_files import LIBRARY, settings_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RECIPES = {"sc_cam": 2, "rrm": None, "self_guided": 2, "best": 1, "irn": None, "seam": None}
"""Recipe -> rounds of the tiny run, or None where it repeats nothing."""
TRAIN, VAL, SIZE = 16, 4, (64, 80)


@dataclass(frozen=True)
class TinyRun:
    """A finished run folder.

    Attributes:
        recipe: what was run.
        folder: the run folder.
        data: configuration of the images.
        codes: exit codes of the run and of the same command again.
        idle: what the second one printed.
    """

    recipe: Recipe
    folder: Path
    data: Path
    codes: tuple[int, int]
    idle: str


@pytest.fixture(scope="module", params=RECIPES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    folder, rounds = tmp_path_factory.mktemp(request.param), RECIPES[request.param]
    images = Shapes(str(folder / "shapes"), train=TRAIN, val=VAL, size=SIZE)
    data = folder / "data.yaml"
    data.write_text(yaml.safe_dump({"data": {"init_args": {"dataset": images.describe()}}}))
    # networks of this size may find nothing, which would end the run
    words = ["run", request.param, "--run-dir", str(folder / "run"), "--allow-empty"]
    more = ["--data", str(data), "--budget", "tiny", "--seed", "3"]
    more += ["--rounds", str(rounds)] if rounds else []
    first = one_process.main([*words, *more])
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        second = one_process.main(words)
    recipe = load_recipe(LIBRARY, request.param, rounds=rounds)
    return TinyRun(recipe, folder / "run", data, (first, second), printed.getvalue())


def test_every_step_is_made_and_scored_and_then_nothing(tiny: TinyRun) -> None:
    assert tiny.codes == (0, 0)
    assert tiny.idle.count("skipped (done before)") == len(tiny.recipe.steps)
    card = json.loads((tiny.folder / "scorecard.json").read_text())
    for step in tiny.recipe.steps:
        manifest = read_manifest(tiny.folder / step.name)
        assert manifest is not None and manifest.complete and manifest.kind == step.kind
        assert set(manifest.parents) == set(step.inputs.values())
        if step.score:
            assert 0 <= card["steps"][step.name]["miou"] <= 1
    assert set(tiny.recipe.paper["targets"]) <= {s.name for s in load_recipe(LIBRARY, tiny.recipe.name).steps}


def test_what_is_said_of_tune_is_what_it_does(tiny: TinyRun) -> None:
    assert is_tunable(tiny.folder) == (one_process.main(["tune", str(tiny.folder), "--images", "2"]) == 0)


def test_the_model_predicts_without_tags(tiny: TinyRun) -> None:
    assert load(tiny.folder, device="cpu").model.num_classes == 4
    last = [step for step in tiny.recipe.steps if step.kind == "segmentation"][-1]
    manifest = read_manifest(tiny.folder / last.name)
    assert manifest is not None and manifest.split == "val" and len(manifest.image_ids) == VAL


def test_maps_and_labels_of_val_are_those_of_the_same_networks(tiny: TinyRun, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny.folder, run)
    step = next(step for step in tiny.recipe.steps if step.stage == 1 and step.kind == "maps")
    words = ["run", tiny.recipe.name, "--run-dir", str(run), "--val-labels", "--allow-empty"]
    assert one_process.main(words) == 0
    card = json.loads((run / "scorecard.json").read_text())["steps"]
    final = read_manifest(run / "segmentation")
    assert final is not None
    made = [s.name for s in tiny.recipe.steps if s.kind in ("maps", "labels")]
    for name in made:
        manifest = read_manifest(run / f"{name}_val")
        assert manifest is not None and manifest.image_ids == final.image_ids and not manifest.checkpoint
        assert card[f"{name}_val"]["split"] == "val" and card[f"{name}_val"]["images"] == VAL
    # on the images of its step, a copy leaves the same files: equal to the bit on one machine
    again = [f"--{step.name}_val.data.init_args.predict_split", "train", "--step", f"{step.name}_val"]
    assert one_process.main([*words, *again]) == 0
    own = sorted((run / step.name / "out").glob("*.npz"))
    assert len(own) == TRAIN
    for path in own:
        ours, theirs = (np.load(p)["maps"] for p in (path, run / f"{step.name}_val" / "out" / path.name))
        assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("budget", ["full", "small"])
def test_every_configuration_starts(tiny: TinyRun, budget: str, tmp_path: Path) -> None:
    for step in tiny.recipe.steps:
        arguments = _arguments(tiny, step, budget, tmp_path)
        assert main(step.script, arguments) == 0, f"{step.name}: {arguments}"


def test_every_variant_starts(tiny: TinyRun, tmp_path: Path) -> None:
    plain = {step.name: step for step in tiny.recipe.steps}
    rounds = RECIPES[tiny.recipe.name]
    for variant in tiny.recipe.variants:
        for step in load_recipe(LIBRARY, tiny.recipe.name, variant, rounds).steps:
            same = step.name in plain and step.sections == plain[step.name].sections
            # what reads a step that only the variant has needs a run of the variant
            made = all(source in plain for source in step.inputs.values())
            if same or not step.trains or not made:
                continue
            arguments = _arguments(tiny, step, "full", tmp_path / variant)
            assert main(step.script, arguments) == 0, f"{variant}, {step.name}: {arguments}"


def _arguments(tiny: TinyRun, step: Step, budget: str, folder: Path) -> list[str]:
    """The step's first command, on a network and crops that a test can afford; the rest as shipped."""
    config = settings_file(folder / f"{step.name}.yaml", step, Choice(budget), str(tiny.data))
    words = [step.commands[0], "--config", str(config)]
    words += ["--step-dir", str(folder / step.name), "--trainer.accelerator", "cpu"]
    words += ["--trainer.enable_progress_bar", "false", "--data.init_args.num_workers", "0"]
    for option, source in step.inputs.items():
        words += [f"--{option}", str(tiny.folder / source)]
    if step.trains:
        words += ["--trainer.fast_dev_run", "1", "--data.init_args.batch_size", "2"]
        words += ["--model.init_args.backbone.weights", "none"]
        words += ["--model.init_args.backbone.name", "test_resnet", "--model.init_args.backbone.frozen", "[]"]
        if "model.init_args.network_from" in step.inputs:  # one network throughout: that of the tiny run
            words += ["--model.init_args.head.name", "deeplabv2", "--model.init_args.head.channels", "null"]
        words += ["--data.init_args.augment.crop", "96"] if "augment" in config.read_text() else []
    return words
