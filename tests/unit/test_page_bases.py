"""Pages that say only what differs: variants that are like another one, data configurations with a base."""

from __future__ import annotations

from typing import Any

import pytest

from tag2mask.core import UserError
from tag2mask.core.layers import nest
from tag2mask.core.library import data_settings, dataset_config
from tag2mask.pipeline import Choice, resolve
from tests.recipe_pages import TWO, Conf, conf, toy

__all__ = ["conf"]  # the fixture of these tests


def liked() -> dict[str, Any]:
    """A recipe with a variant that another one may be like."""
    changes = {"two": {"model.init_args": {"a": 1, "b": 1}, "budgets": {"tiny": {"model.init_args.c": 1}}}}
    return toy() | {"variants": {"v": {"title": "t", "targets": {"two": 5}, "skip": [], "steps": changes}}}


def test_a_variant_like_one_of_another_recipe(conf: Conf) -> None:
    conf.write("budgets/tiny", {})
    conf.write("recipes/toy", liked())
    own = {"like": "toy:v", "steps": {"two": {"model.init_args.b": 2}}}
    conf.write("recipes/other", {"base": "toy", "title": "o", "variants": {"w": own, "x": {"like": "w"}}})
    for name in ("w", "x"):
        recipe = conf.load("other", name)
        assert [step.name for step in recipe.steps] == ["one", "two"]
        # the title comes with the changes; the targets are the other paper's
        assert recipe.variants[name] == {"title": "t", "targets": {}}
        settings = resolve(conf.library, recipe.step("two"), Choice("tiny"))
        assert nest(settings)["model"]["init_args"] == {"a": 1, "b": 2, "c": 1}
        line = {path: setting.origin.rpartition("/")[2].split(":")[0] for path, setting in settings.items()}
        assert line["model.init_args.a"] == "toy.yaml" and line["model.init_args.b"] == "other.yaml"


def test_what_a_variant_skips_stands_in_its_own_part_or_in_that_of_the_one_that_it_is_like(
    conf: Conf,
) -> None:
    third = {"three": {**TWO, "inputs": {}}}
    page = {"title": "a", "steps": {**toy()["steps"], **third}}
    variants = {"v": {"skip": ["two"]}, "w": {"like": "v"}, "x": {"like": "v", "skip": ["three"]}}
    conf.write("recipes/toy", page | {"variants": variants})
    for name, left in (("v", "three"), ("w", "three"), ("x", "two")):
        assert [step.name for step in conf.load(variant=name).steps] == ["one", left]


def test_a_liked_variant_changes_the_step_that_a_variant_puts_in_place_of_one(conf: Conf) -> None:
    conf.write("budgets/tiny", {})
    conf.write("recipes/toy", liked())
    new = {"two": {"base": "learner", "stage": 2, "model.init_args.width": 3}}
    steps = {"one": None, "last_{round}": {**TWO, "last": {"name": "two"}}}
    page = {"base": "toy", "title": "o", "skip": ["two"], "rounds": 1, "steps": steps}
    conf.write(
        "recipes/other",
        page
        | {"variants": {"v": {"like": "toy:v", "skip": ["last_{round}"], "steps": {"one": None, **new}}}},
    )
    found = conf.settings("two", "other", "v")
    assert {name: found[f"model.init_args.{name}"] for name in ("width", "a", "b")} == {
        "width": 3,
        "a": 1,
        "b": 1,
    }


def test_a_variant_cannot_change_what_it_skips_for_one_that_it_is_like(conf: Conf) -> None:
    conf.write("budgets/tiny", {})
    conf.write(
        "recipes/toy", liked() | {"variants": {**liked()["variants"], "w": {"like": "v", "skip": ["two"]}}}
    )
    with pytest.raises(UserError, match=r"toy.yaml:\d+: toy:w changes two, which it skips"):
        conf.load()


def test_a_variant_cannot_change_all_rounds_of_a_step_and_skip_one_of_them(conf: Conf) -> None:
    rounds = {"each_{round}": {**TWO, "inputs": {}}}
    changed = {"each_{round}": {"model.init_args.a": 1}}
    page = {"title": "a", "rounds": 2, "steps": {"one": {"base": "learner"}, **rounds}}
    conf.write("recipes/toy", page | {"variants": {"v": {"skip": ["each_2"], "steps": changed}}})
    with pytest.raises(UserError, match=r"toy.yaml:\d+: toy:v changes each_{round}, which it skips"):
        conf.load()


def test_data_configurations_have_bases(conf: Conf) -> None:
    dataset = {"class_path": "a.B", "init_args": {"root": "r", "splits": None, "classes": ["x"]}}
    conf.write("data/whole", {"data": {"init_args": {"dataset": dataset}}})
    conf.write(
        "data/part", {"base": "whole", "data.init_args": {"dataset.init_args": {"splits": {"train": "t"}}}}
    )
    expected = {**dataset, "init_args": {"root": "r", "splits": {"train": "t"}, "classes": ["x"]}}
    assert dataset_config(conf.library, "part") == expected
    origins = {path: s.origin.rpartition("/")[2] for path, s in data_settings(conf.library, "part").items()}
    assert origins["data.init_args.dataset.init_args.splits.train"] == "part.yaml:5"
    assert origins["data.init_args.dataset.init_args.root"].startswith("whole.yaml:")
    conf.write("data/part", {"base": "whle"})
    with pytest.raises(
        UserError, match=r"part.yaml:1: unknown data configuration 'whle'; did you mean whole"
    ):
        dataset_config(conf.library, "part")
    conf.write("data/part", {"base": "whole", "dat": {}})
    with pytest.raises(UserError, match=r"part.yaml:2: unknown key 'dat'; did you mean data"):
        dataset_config(conf.library, "part")
