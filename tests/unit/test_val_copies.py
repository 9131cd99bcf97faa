"""--val-labels: which steps are repeated on val, what they read, and how they are set."""

from __future__ import annotations

import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tag2mask.artifacts import CommandRecord, Manifest, write_manifest
from tag2mask.cli import main
from tag2mask.core import UserError
from tag2mask.core.library import Library, open_library
from tag2mask.core.recipe_names import split_label
from tag2mask.pipeline import Choice, Extras, Recipe, Settings, load_recipe, recipe_of, resolve
from tag2mask.pipeline.plan import plan_steps

LIBRARY = open_library()
NETWORK = "network-from"


def with_val(label: str, rounds: int | None = None) -> Recipe:
    name, variant = split_label(label)
    return recipe_of(LIBRARY, Settings(name, variant, budget="full", rounds=rounds, val_labels=True))


def copies(recipe: Recipe) -> dict[str, dict[str, str]]:
    return {step.name: step.inputs for step in recipe.steps if step.copy_of}


def test_psa_on_val_reads_its_own_maps_and_the_networks_of_train() -> None:
    recipe = with_val("psa")
    assert [step.name for step in recipe.steps][:6] == [s.name for s in load_recipe(LIBRARY, "psa").steps]
    assert copies(recipe) == {
        "cam_val": {NETWORK: "cam"},
        "walk_val": {"data.init_args.maps_dir": "cam_val", "model.init_args.affinity_from": "affinity"},
        "pseudo_label_val": {"data.init_args.maps_dir": "walk_val"},
    }
    # Ahn and Kwak 2018, table 5
    printed = {name: miou for name, miou in recipe.paper["targets"].items() if name.endswith("_val")}
    assert printed == {"cam_val": 46.8, "walk_val": 57.0, "pseudo_label_val": 58.7}


def test_each_round_of_sc_cam_has_its_number_of_table_2() -> None:
    recipe = with_val("sc_cam")
    for number in (1, 2, 3):
        # what the rounds learned from is not made again for val
        inputs = copies(recipe)[f"cam_{number}_val"]
        assert inputs == {NETWORK: f"cam_{number}", "data.init_args.sub_labels_dir": f"clusters_{number}"}
    assert [recipe.paper["targets"][f"cam_{n}_val"] for n in (1, 2, 3)] == [48.0, 48.7, 49.6]


def test_every_recipe_and_variant_has_copies_that_differ_in_the_split_alone() -> None:
    for name in LIBRARY.names("recipes"):
        for variant in ["", *load_recipe(LIBRARY, name).variants]:
            recipe = with_val(f"{name}:{variant}")
            steps = {step.name: step for step in recipe.steps}
            made = [step for step in recipe.steps if step.copy_of]
            # all it does is train on true masks: there are no maps and no labels
            assert made or (name, variant) == ("self_guided", "supervised")
            for step in made:
                own, original = (
                    {k: v.value for k, v in resolve(LIBRARY, s, Choice("small")).items()}
                    for s in (step, steps[step.copy_of])
                )
                changed = {path for path in own if own[path] != original.get(path)}
                assert changed <= {"data.init_args.predict_split", "data.init_args.split"} and changed, step
                assert not step.trains and set(step.inputs.values()) <= set(steps)


def toy(tmp_path: Path, **step: Any) -> Library:
    one = {"stage": 1, "script": "pseudo_labels", "commands": ["predict"], "kind": "maps", "inputs": {}}
    page = {"title": "a toy", "steps": {"one": one | step, "one_val": {**one, "kind": "checkpoint"}}}
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "toy.yaml").write_text(yaml.safe_dump(page))
    return Library((tmp_path,))


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"data.class_path": "tag2mask.data.PseudoLabelData"}, "toy has a step one_val of its own"),
        ({"kind": "superpixels"}, "toy has a step one_val of its own"),
    ],
)
def test_a_name_that_is_taken(step: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        recipe_of(toy(tmp_path, **step), Settings("toy", val_labels=True))


def test_data_of_one_split_only(tmp_path: Path) -> None:
    library = toy(tmp_path, **{"data.class_path": "tag2mask.data.ImageSet"})
    page = tmp_path / "recipes" / "toy.yaml"
    plain = yaml.safe_load(page.read_text())
    del plain["steps"]["one_val"]
    page.write_text(yaml.safe_dump(plain))
    with pytest.raises(UserError, match="of step one has no argument predict_split or split"):
        recipe_of(library, Settings("toy", val_labels=True))


def test_it_is_remembered_and_settings_of_a_step_hold_for_its_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["run", "psa", "--data", "shapes", "--budget", "tiny", "--val-labels", "--dry-run", "--no-check"]
    assert main([*words, "--cam.model.init_args.dropout", "0.25"]) == 0
    printed = capsys.readouterr().out
    assert "# [7/9] cam_val" in printed and f"--{NETWORK} {tmp_path}/runs/psa/cam" in printed
    assert "cam_val" not in _dry_run(capsys, words[:-3])


def _dry_run(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    assert main([*words, "--dry-run", "--no-check"]) == 0
    return capsys.readouterr().out


def step_of(split: str, folder: Path, complete: bool = True) -> Path:
    done = CommandRecord(complete=complete)
    labels = {"names": ["cat"], "ids": [8], "ignore": 255}
    manifest = Manifest(
        step=folder.name, kind="maps", recipe="psa", classes=labels, split=split, image_ids=["a"],
        commands={"predict": done}, complete=complete,
    )  # fmt: skip
    write_manifest(folder, manifest)
    return folder


def test_a_folder_of_train_that_is_given_to_a_step_is_refused_for_its_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, val = step_of("train", tmp_path / "walk"), step_of("val", tmp_path / "walk_val")
    words = ["run", "psa", "--data", "shapes", "--budget", "tiny", "--run-dir", str(tmp_path / "run")]
    words += ["--val-labels", "--pseudo_label.data.init_args.maps_dir", str(train)]
    assert main([*words, "--dry-run", "--no-check"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    way = "--pseudo_label_val.data.init_args.maps_dir"
    assert f"{train} holds results of train, and step pseudo_label_val" in line and way in line
    assert not (tmp_path / "run").exists()
    # both ways out that the message names
    read = _inputs(_dry_run(capsys, [*words, way, str(val)]), "maps_dir")
    assert read["pseudo_label"] == str(train) and read["pseudo_label_val"] == str(val)
    assert set(_inputs(_dry_run(capsys, [*words, "--step", "pseudo_label"]), "maps_dir")) == {"pseudo_label"}


def test_networks_that_are_given_to_a_step_hold_for_its_copy_and_its_split_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = step_of("", tmp_path / "affinity")
    words = ["run", "psa", "--data", "shapes", "--budget", "tiny", "--run-dir", str(tmp_path / "run")]
    words += ["--val-labels", "--walk.model.init_args.affinity_from", str(network)]
    read = _inputs(_dry_run(capsys, words), "affinity_from")
    assert read["walk"] == read["walk_val"] == str(network)
    split = "data.init_args.predict_split"
    settings = Settings("psa", data="shapes", budget="tiny", val_labels=True)
    extras = Extras(overrides={"cam": {split: "test"}})
    plans = plan_steps(LIBRARY, with_val("psa"), with_val("psa").steps, settings, tmp_path, extras)
    assert [plans[s].settings["data"]["init_args"]["predict_split"] for s in ("cam", "cam_val")] == [
        "test", "val",
    ]  # fmt: skip


def test_a_given_folder_that_is_not_complete_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = step_of("train", tmp_path / "walk", complete=False)
    words = ["run", "psa", "--data", "shapes", "--budget", "tiny", "--run-dir", str(tmp_path / "run")]
    words += ["--pseudo_label.data.init_args.maps_dir", str(half), "--dry-run", "--no-check"]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert f"--pseudo_label.data.init_args.maps_dir: the step in {half} is not complete" in err


def _inputs(printed: str, option: str) -> dict[str, str]:
    """Step -> what a dry run gives it for an input, of the steps that have that input."""
    calls = [shlex.split(line) for line in printed.splitlines() if " step " in line]
    pairs = [dict(pairwise(words)) for words in calls]
    return {
        Path(words["--step-dir"]).name: value
        for words in pairs
        for name, value in words.items()
        if name.endswith(f".{option}")
    }


def test_another_kind_of_network_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = CommandRecord(complete=True)
    labels = {"names": ["cat"], "ids": [8], "ignore": 255}
    other = Manifest(
        step="other", kind="checkpoint", recipe="psa", classes=labels, commands={"fit": done},
        checkpoint="checkpoints/last.ckpt", complete=True,
    )  # fmt: skip
    write_manifest(tmp_path / "other", other)
    config = tmp_path / "cam.yaml"
    assert (
        main(["recipes", "show", "psa", "--budget", "tiny", "--step", "cam", "--data", "shapes", "--yaml"])
        == 0
    )
    config.write_text(capsys.readouterr().out)
    dataset = "--data.init_args.dataset.init_args"
    words = [
        "step",
        "classifier",
        "predict",
        "--config",
        str(config),
        "--step-dir",
        str(tmp_path / "cam_val"),
    ]
    words += [f"{dataset}.root", str(tmp_path / "shapes"), f"{dataset}.train", "4", f"{dataset}.val", "2"]
    assert main([*words, f"--{NETWORK}", str(tmp_path / "other")]) == 2
    assert "holds a network of another kind or for other classes" in capsys.readouterr().err
