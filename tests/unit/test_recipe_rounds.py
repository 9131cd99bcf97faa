"""Recipes that repeat steps: what a block of rounds becomes, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tag2mask.core import UserError
from tag2mask.pipeline.rounds import unroll

PATH = Path("recipe.yaml")


def plain(**variants: Any) -> dict[str, Any]:
    block = {
        "rounds": 3,
        "steps": [
            {
                "name": "learn_{round}",
                "stage": 2,
                "inputs": {"a": "label_{before}", "b": "start"},
                "first": {"inputs": {"a": "start"}},
                "last": {"name": "model", "stage": 3},
            },
            {"name": "label_{round}", "stage": 2, "inputs": {"c": "learn_{round}"}},
        ],
    }
    end = {"name": "end", "inputs": {"d": "label_{last}"}}
    return {"name": "toy", "steps": [{"name": "start"}, block, end], "variants": variants}


def names(recipe: dict[str, Any]) -> list[str]:
    return [step["name"] for step in recipe["steps"]]


def inputs(recipe: dict[str, Any], name: str) -> Any:
    return next(step["inputs"] for step in recipe["steps"] if step["name"] == name)


def test_a_block_becomes_the_steps_of_each_round() -> None:
    recipe = unroll(PATH, plain())
    assert names(recipe) == ["start", "learn_1", "label_1", "learn_2", "label_2", "model", "label_3", "end"]
    assert inputs(recipe, "learn_1") == {"a": "start", "b": "start"}
    assert inputs(recipe, "learn_2") == {"a": "label_1", "b": "start"}
    assert inputs(recipe, "model") == {"a": "label_2", "b": "start"}
    assert inputs(recipe, "end") == {"d": "label_3"}
    assert [step.get("stage") for step in recipe["steps"]] == [None, 2, 2, 2, 2, 3, 2, None]
    assert all(not {"first", "last"} & set(step) for step in recipe["steps"])


def test_one_round_is_the_first_and_the_last() -> None:
    recipe = unroll(PATH, plain(), 1)
    assert names(recipe) == ["start", "model", "label_1", "end"]
    assert inputs(recipe, "model") == {"a": "start", "b": "start"}


def test_a_list_of_configurations_names_one_per_round_and_the_last_for_all_later_ones() -> None:
    recipe = plain()
    recipe["steps"][1]["steps"][1]["config"] = ["short", "long"]
    for rounds in (1, 2, 4):
        steps = {step["name"]: step for step in unroll(PATH, recipe, rounds)["steps"]}
        used = [steps[f"label_{number}"]["config"] for number in range(1, rounds + 1)]
        assert used == ["short", "long", "long", "long"][:rounds]


def test_a_budget_may_have_its_own_number_of_rounds() -> None:
    recipe = plain()
    recipe["steps"][1]["rounds"] = {"full": 3, "small": 1}
    assert "label_3" in names(unroll(PATH, recipe))
    assert names(unroll(PATH, recipe, budget="small")) == ["start", "model", "label_1", "end"]
    assert "label_3" in names(unroll(PATH, recipe, budget="tiny"))  # not named: as many as full
    assert "label_2" in names(unroll(PATH, recipe, 2, "small"))  # --rounds goes first


def test_variants_change_every_round_but_not_what_the_first_settles() -> None:
    variant = {
        "skip": ["label_{round}", "end"],
        "inputs": {"learn_{round}": {"a": "other_{before}", "b": None}},
        "args": {"learn_{round}": ["--x 1"], "start": ["--y 2"]},
    }
    changed = unroll(PATH, plain(v=variant))["variants"]["v"]
    assert changed["skip"] == ["label_1", "label_2", "label_3", "end"]
    assert changed["inputs"] == {
        "learn_1": {"b": None},
        "learn_2": {"a": "other_1", "b": None},
        "model": {"a": "other_2", "b": None},
    }
    assert changed["args"] == {
        "learn_1": ["--x 1"],
        "learn_2": ["--x 1"],
        "model": ["--x 1"],
        "start": ["--y 2"],
    }


def test_a_recipe_without_rounds_stays_as_it_is() -> None:
    assert unroll(PATH, {"name": "toy", "steps": [{"name": "one"}]}) == {
        "name": "toy",
        "steps": [{"name": "one"}],
    }
    with pytest.raises(UserError, match="repeats no steps"):
        unroll(PATH, {"name": "toy", "steps": [{"name": "one"}]}, 2)


def broken(**changes: Any) -> dict[str, Any]:
    recipe = plain()
    recipe["steps"][1] = {**recipe["steps"][1], **changes}
    return recipe


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (broken(rounds=0), "whole number from 1 on, got 0"),
        (broken(rounds="many"), "whole number from 1 on"),
        (broken(rounds={"small": 1}), "must name full"),
        (broken(rounds={"full": 3, "small": 0}), "whole number from 1 on, got 0"),
        (broken(steps=[{"name": "x_{round}", "config": []}]), "is an empty list"),
        (broken(steps=[]), "at least one step"),
        (broken(more=1), "has the keys rounds and steps"),
        (broken(steps=[{"name": "one"}]), r"must hold \{round\}"),
        (broken(steps=[{"name": "x_{round}", "first": 3}]), "must be mappings"),
        ({"steps": [{"rounds": 1}, {"rounds": 2}]}, "only one block of rounds"),
        (plain(v={"skip": ["lable_{round}"]}), "unknown step of the rounds"),
    ],
)
def test_refused(recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        unroll(PATH, recipe)
