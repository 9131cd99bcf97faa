"""Recipes as files: what is read, what variants change, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tag2mask.core import UserError
from tag2mask.pipeline import configs, load_recipe

PSA = Path(__file__).parents[2] / "conf" / "recipes" / "psa"


def toy() -> dict[str, Any]:
    first = {
        "name": "one",
        "stage": 1,
        "script": "classifier",
        "commands": ["fit", "predict"],
        "kind": "maps",
    }
    second = {
        "name": "two",
        "stage": 2,
        "script": "pseudo_labels",
        "commands": ["predict"],
        "kind": "labels",
        "inputs": {"data.init_args.maps_dir": "one"},
        "score": "labels",
    }
    return {"name": "toy", "title": "a toy", "steps": [first, second]}


def write(tmp_path: Path, plain: Any) -> Path:
    folder = tmp_path / "toy"
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(plain))
    return folder


def test_psa_is_the_papers_order() -> None:
    recipe = load_recipe(PSA)
    assert [(s.name, s.stage, s.script, s.commands, s.score) for s in recipe.steps] == [
        ("cam", 1, "classifier", ("fit", "predict"), "maps"),
        ("affinity_labels", 2, "pseudo_labels", ("predict",), "affinity_labels"),
        ("affinity", 2, "affinity", ("fit",), None),
        ("walk", 2, "pseudo_labels", ("predict",), "maps"),
        ("pseudo_label", 2, "pseudo_labels", ("predict",), "labels"),
        ("segmentation", 3, "segmentation", ("fit", "predict"), "segmentation"),
    ]
    assert recipe.step("walk").inputs == {
        "data.init_args.maps_dir": "cam",
        "model.init_args.affinity_from": "affinity",
    }
    # Ahn and Kwak 2018, tables 1 and 2
    assert recipe.paper["targets"] == {"cam": 48.0, "walk": 58.1, "pseudo_label": 59.7, "segmentation": 61.7}


def test_psa_variants() -> None:
    no_walk = load_recipe(PSA, "no_walk")
    assert [s.name for s in no_walk.steps] == ["cam", "pseudo_label", "segmentation"]
    assert no_walk.step("pseudo_label").inputs == {"data.init_args.maps_dir": "cam"}
    no_crf = load_recipe(PSA, "no_crf")
    assert no_crf.step("pseudo_label").args == ("--model.init_args.refinements", "null")
    assert no_crf.label == "psa:no_crf"
    cam, bound = load_recipe(PSA, "supervised").steps
    assert cam.name == "cam" and bound.name == "segmentation"
    assert bound.inputs == {"model.init_args.classifier_from": "cam"}
    assert bound.args == ("--data.init_args.supervision", "masks")


def test_a_variant_has_the_papers_numbers_for_itself() -> None:
    assert load_recipe(PSA.parent / "rrm", "ce_only").paper["targets"] == {"joint": 48.5}  # table 2
    # The recipe's own numbers would be another network's.
    assert load_recipe(PSA, "supervised").paper["targets"] == {}
    for folder in PSA.parent.iterdir():
        for name, variant in load_recipe(folder).variants.items():
            steps = {step.name for step in load_recipe(folder, name).steps}
            assert set(variant.targets) <= steps, name


def test_unknown_names_come_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown variant of psa 'no_wlk'; did you mean no_walk"):
        load_recipe(PSA, "no_wlk")
    with pytest.raises(UserError, match=r"unknown step of psa 'wlak'; did you mean walk"):
        load_recipe(PSA).step("wlak")
    with pytest.raises(UserError, match=r"unknown recipe 'pas'; did you mean psa.*tag2mask recipes"):
        configs.recipe_folder(PSA.parents[1], "pas")
    with pytest.raises(UserError, match="unknown data configuration"):
        configs.named_config(PSA.parents[1], "data", "vok")
    with pytest.raises(UserError, match=r"no file nowhere.yaml"):
        configs.named_config(PSA.parents[1], "data", "nowhere.yaml")


def step(**changes: Any) -> Any:
    plain = toy()
    plain["steps"][1] |= changes
    return plain


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ([1], "must hold keys and values"),
        ({"name": "toy"}, "lacks steps, title"),
        (toy() | {"nmae": 1}, "unknown key in the recipe of .* 'nmae'; did you mean name"),
        (toy() | {"name": "other"}, "the folder is 'toy'"),
        (toy() | {"steps": []}, "has no steps"),
        (toy() | {"steps": ["one"]}, "each step must be a mapping"),
        (toy() | {"steps": toy()["steps"][::-1]}, "reads 'one', which is no earlier step"),
        (toy() | {"steps": toy()["steps"][:1] * 2}, "two steps of toy are called 'one'"),
        (step(stage=4), "stage of step 'two' is 4; use one of 1, 2, 3"),
        (step(script="classify"), "script of step 'two' is 'classify'"),
        (step(kind="soup"), "kind of step 'two'"),
        (step(score="IoU"), "score of step 'two'"),
        (step(commands=["predict", "fit"]), "commands of step 'two'"),
        (step(commands="fit"), "commands of step 'two'"),
        (step(name="../x"), "must be lower-case"),
        (step(inputs={"--data.x": "one"}), "without dashes"),
        (step(inputs=["one"]), "inputs must be a mapping"),
        (step(input={}), "unknown key in step 'two'"),
        (toy() | {"variants": {"v": {"skip": ["three"]}}}, "unknown step of toy 'three'"),
        (toy() | {"variants": {"v": {"skip": ["one"]}}}, "two' in toy:v reads 'one', which is no earlier"),
        (toy() | {"variants": {"v": {"skip": ["one", "two"]}}}, "toy:v has no steps"),
        (toy() | {"variants": {"v": {"args": {"one": [None]}}}}, "args are strings"),
        (toy() | {"variants": {"v": {"args": {"one": "--x 1"}}}}, "must be a list"),
    ],
)
def test_refused(plain: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_recipe(write(tmp_path, plain))
    assert "recipe.yaml" in str(caught.value) or "unknown" in str(caught.value)


def test_stages_do_not_go_back(tmp_path: Path) -> None:
    plain = toy()
    plain["steps"][0]["stage"] = 3
    with pytest.raises(UserError, match="go back"):
        load_recipe(write(tmp_path, plain))


def test_yaml_that_is_none(tmp_path: Path) -> None:
    folder = write(tmp_path, toy())
    (folder / "recipe.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"recipe.yaml is not valid YAML"):
        load_recipe(folder)


def test_named_files_are_part_of_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.yaml").write_text("trainer: sub/t.yaml  # a comment\nother: gone.yaml\n")
    (tmp_path / "sub" / "t.yaml").write_text("epochs: 3\nmore: [u.yaml]\n")
    (tmp_path / "sub" / "u.yaml").write_text("x: 1\n")
    resolved = configs.resolve_yaml(tmp_path / "a.yaml")
    assert resolved == {"trainer": {"epochs": 3, "more": [{"x": 1}]}, "other": "gone.yaml"}
    (tmp_path / "sub" / "u.yaml").write_text("x: ../a.yaml\n")
    with pytest.raises(UserError, match="name each other"):
        configs.resolve_yaml(tmp_path / "a.yaml")


def test_step_configs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"step one has no configuration: .*one.yaml is missing"):
        configs.step_configs(tmp_path, "one", "full", trains=True)
    for name in ("one.yaml", "two.yaml", "one.tiny.yaml"):
        (tmp_path / name).write_text("")
    assert configs.budget_names(tmp_path, ["one", "two"]) == ["full", "tiny"]
    assert len(configs.step_configs(tmp_path, "one", "tiny", trains=True)) == 2
    assert len(configs.step_configs(tmp_path, "two", "tiny", trains=False)) == 1
    with pytest.raises(UserError, match=r"no budget 'tiny'.*two.tiny.yaml"):
        configs.step_configs(tmp_path, "two", "tiny", trains=True)


def test_conf_folder_by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAG2MASK_CONF", str(tmp_path))
    with pytest.raises(UserError, match="TAG2MASK_CONF"):
        configs.find_conf()
    (tmp_path / "recipes").mkdir()
    assert configs.find_conf() == tmp_path
