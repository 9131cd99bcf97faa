"""Recipes that repeat steps: what a block of rounds becomes, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tag2mask.core import UserError
from tag2mask.core.library import Library
from tag2mask.pipeline import Choice, Recipe, load_recipe, resolve

STEP = {"stage": 2, "script": "pseudo_labels", "commands": ["predict"], "kind": "labels", "inputs": {}}
A, B, C = "data.init_args.a", "data.init_args.b", "data.init_args.c"


def plain(**variants: Any) -> dict[str, Any]:
    steps = {
        "start": STEP,
        "learn_{round}": {
            **STEP,
            "inputs": {A: "label_{before}", B: "start"},
            "first": {"inputs": {A: "start"}},
            "last": {"name": "model", "stage": 3},
        },
        "label_{round}": {
            **STEP,
            "inputs": {C: "learn_{round}"},
            "last": {"stage": 3, "inputs": {C: "model"}},
        },
        "end": {**STEP, "stage": 3, "inputs": {A: "label_{last}"}},
    }
    return {"title": "a toy", "rounds": 3, "steps": steps, "variants": variants}


def load(tmp_path: Path, page: dict[str, Any], variant: str = "", **how: Any) -> Recipe:
    (tmp_path / "recipes").mkdir(exist_ok=True)
    (tmp_path / "recipes" / "toy.yaml").write_text(yaml.safe_dump(page, sort_keys=False))
    return load_recipe(Library((tmp_path,)), "toy", variant, **how)


def names(recipe: Recipe) -> list[str]:
    return [step.name for step in recipe.steps]


def test_repeated_steps_become_the_steps_of_each_round(tmp_path: Path) -> None:
    recipe = load(tmp_path, plain())
    assert names(recipe) == ["start", "learn_1", "label_1", "learn_2", "label_2", "model", "label_3", "end"]
    assert recipe.step("learn_1").inputs == {A: "start", B: "start"}
    assert recipe.step("learn_2").inputs == {A: "label_1", B: "start"}
    assert recipe.step("model").inputs == {A: "label_2", B: "start"}
    assert recipe.step("end").inputs == {A: "label_3"}
    assert [step.stage for step in recipe.steps] == [2, 2, 2, 2, 2, 3, 3, 3]


def test_one_round_is_the_first_and_the_last(tmp_path: Path) -> None:
    recipe = load(tmp_path, plain(), rounds=1)
    assert names(recipe) == ["start", "model", "label_1", "end"]
    assert recipe.step("model").inputs == {A: "start", B: "start"}


def test_settings_by_round_and_the_last_of_them_for_all_later_rounds(tmp_path: Path) -> None:
    page = plain()
    page["steps"]["label_{round}"]["by_round"] = [{"data.init_args.x": "short"}, {"data.init_args.x": "long"}]
    for rounds in (1, 2, 4):
        recipe = load(tmp_path, page, rounds=rounds)
        steps = [resolve(Library((tmp_path,)), s, Choice()) for s in recipe.steps if "label" in s.template]
        assert [s["data.init_args.x"].value for s in steps] == ["short", "long", "long", "long"][:rounds]


def test_a_budget_may_have_its_own_number_of_rounds(tmp_path: Path) -> None:
    page = plain() | {"rounds": {"full": 3, "small": 1}}
    assert "label_3" in names(load(tmp_path, page))
    assert names(load(tmp_path, page, budget="small")) == ["start", "model", "label_1", "end"]
    assert "label_3" in names(load(tmp_path, page, budget="tiny"))  # not named: as many as full
    assert "label_2" in names(load(tmp_path, page, rounds=2, budget="small"))  # --rounds goes first


def test_variants_change_every_round_but_not_what_the_first_settles(tmp_path: Path) -> None:
    learn = {"inputs": {A: "start", B: None}, "model.init_args.x": 1}
    variant = {"skip": ["end"], "steps": {"learn_{round}": learn, "start": {"model.init_args.y": 2}}}
    page = plain(
        v=variant, w={"skip": ["label_{round}", "end"], "steps": {"learn_{round}": {"inputs": {A: None}}}}
    )
    page["steps"]["learn_{round}"]["first"] = {"inputs": {A: "start", C: "start"}}
    page["variants"]["v"]["steps"]["learn_{round}"]["inputs"][C] = None
    changed = load(tmp_path, page, "v")
    assert names(changed) == ["start", "learn_1", "label_1", "learn_2", "label_2", "model", "label_3"]
    assert changed.step("learn_1").inputs == {A: "start", C: "start"}
    assert changed.step("learn_2").inputs == changed.step("model").inputs == {A: "start"}
    settings = [resolve(Library((tmp_path,)), step, Choice()) for step in changed.steps]
    assert [s["model.init_args.x"].value for s in settings if "model.init_args.x" in s] == [1, 1, 1]
    assert settings[0]["model.init_args.y"].value == 2
    with_first = load(tmp_path, page, "w").step("learn_1").inputs
    assert with_first == {A: "start", B: "start", C: "start"}


ADDED = {
    "steps": {
        "start": None,
        "early": {**STEP, "base": "kind", "inputs": {A: "start"}},
        "label_{round}": None,
        "more_{round}": {"like": "label_{round}", "model.init_args.x": 1, "last": {"stage": 3}},
        "end": {"inputs": {A: "more_{last}"}},
    }
}


def with_kind(tmp_path: Path) -> Path:
    (tmp_path / "steps").mkdir(exist_ok=True)
    (tmp_path / "steps" / "kind.yaml").write_text(yaml.safe_dump({"model.init_args.x": 5}))
    return tmp_path


def test_a_variant_adds_steps_behind_those_that_it_names(tmp_path: Path) -> None:
    page = plain(v=ADDED, w={"steps": {"start": {"model.init_args.y": 2}}})
    recipe = load(with_kind(tmp_path), page, "v", rounds=2)
    order = ["start", "early", "learn_1", "label_1", "more_1", "model", "label_2", "more_2", "end"]
    assert names(recipe) == order
    assert recipe.step("more_2").inputs == {C: "model"} and recipe.step("end").inputs == {A: "more_2"}
    assert [step.stage for step in recipe.steps if "more" in step.name] == [2, 3]
    settings = {s.name: resolve(Library((tmp_path,)), s, Choice()) for s in recipe.steps}
    xs = {name: s["model.init_args.x"].value for name, s in settings.items() if "model.init_args.x" in s}
    assert xs == {"early": 5, "more_1": 1, "more_2": 1}
    assert names(load(tmp_path, page, rounds=2)) == [
        name for name in order if name[:4] not in ("earl", "more")
    ]


def test_several_variants_one_after_the_other(tmp_path: Path) -> None:
    other = {"targets": {"end": 50.0}, "steps": {"end": {"model.init_args.y": 2}}}
    page = plain(v={**ADDED, "targets": {"end": 40.0}}, w=other, skips={"skip": ["end"]})
    recipe = load(with_kind(tmp_path), page, "v+w", rounds=1)
    assert recipe.label == "toy:v+w" and recipe.paper["targets"] == {}  # each has a number of its own
    end = recipe.step("end")
    assert end.inputs == {A: "more_1"}
    assert resolve(Library((tmp_path,)), end, Choice())["model.init_args.y"].value == 2
    for variant, message in (
        ("v+vv", "unknown variant of toy 'vv'"), ("w+w", "names the variant w twice"),
        ("skips+w", "unknown step of toy 'end'"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            load(tmp_path, page, variant)
    page["variants"]["skips"] |= {"steps": {"end": None, "late": {**STEP, "stage": 3, "base": "kind"}}}
    assert names(load(tmp_path, page, "skips", rounds=1)) == ["start", "model", "label_1", "late"]
    page["variants"]["skips"]["steps"]["end"] = {"model.init_args.y": 1}
    with pytest.raises(UserError, match="toy:skips changes end, which it skips"):
        load(tmp_path, page, "skips")
    del page["variants"]["skips"]
    page["variants"]["again"] = {"steps": {"early": {**STEP, "base": "kind"}}}
    with pytest.raises(UserError, match="the variants v and again of toy both add early"):
        load(tmp_path, page, "v+again")


def changed(**keys: Any) -> dict[str, Any]:
    return plain() | keys


def step(**keys: Any) -> dict[str, Any]:
    page = plain()
    page["steps"]["learn_{round}"] |= keys
    return page


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (changed(rounds=0), "whole number from 1 on, got 0"),
        (changed(rounds="many"), "whole number from 1 on"),
        (changed(rounds={"small": 1}), "must name full"),
        (changed(rounds={"full": 3, "small": 0}), "whole number from 1 on, got 0"),
        (changed(steps={"start": STEP}), r"steps with \{round\} in their names go together"),
        (
            changed(steps={"a_{round}": STEP, "b": STEP, "c_{round}": STEP}),
            r"yaml:\d+: .* must stand together, and b stands between a_.round. and c_.round.; name the step",
        ),
        (step(first=3), "first must be a mapping"),
        (step(by_round={}), "by_round must be a list"),
        (step(last={"nmae": "x"}), "unknown key 'nmae'; did you mean name"),
        (changed(steps=plain()["steps"] | {"start": {**STEP, "first": {}}}), "are for steps with"),
        (
            plain(v={"skip": ["lable_{round}"]}),
            "unknown step of toy 'lable_{round}'; did you mean label_{round}",
        ),
    ],
)
def test_refused(page: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(tmp_path, page)
    assert "toy.yaml" in str(caught.value)


def test_a_recipe_without_rounds_refuses_the_option(tmp_path: Path) -> None:
    page = {"title": "a toy", "steps": {"one": STEP}}
    assert names(load(tmp_path, page)) == ["one"]
    with pytest.raises(UserError, match="repeats no steps: leave --rounds out"):
        load(tmp_path, page, rounds=2)
