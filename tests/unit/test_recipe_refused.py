"""Pages of recipes that are refused, with file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tag2mask.core import UserError
from tag2mask.core.library import Library, dataset_config, find_conf
from tag2mask.core.pages import read_page
from tag2mask.pipeline import load_recipe
from tests.recipe_pages import KIND, TWO, Conf, conf, toy

__all__ = ["conf"]  # the fixture of these tests


def page(**changes: Any) -> Any:
    return toy() | changes


def step(**changes: Any) -> Any:
    plain = toy()
    plain["steps"]["two"] |= changes
    return plain


def variant(**plain: Any) -> Any:
    return toy() | {"variants": {"v": plain}}


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ([1], "must hold keys and values"),
        ({"steps": toy()["steps"]}, "toy.yaml needs a title"),
        (page(titel=1), r"recipes/toy.yaml:13: unknown key 'titel'; did you mean title"),
        (page(base="tyo"), r"recipes/toy.yaml:13: unknown recipe 'tyo'; did you mean toy"),
        (page(base="toy"), r"the bases form a circle: toy -> toy"),
        (page(base=3), "base must be the name of a recipe"),
        (page(skip=["one"]), "unknown step of its base 'one'"),
        (page(steps={}), "toy has no steps"),
        (page(steps={"one": 3}), "steps.one must be a mapping"),
        (page(steps=["one"]), "steps must be a mapping"),
        (page(steps={"two": TWO}), "reads 'one', which is no earlier step"),
        (
            page(steps={"one": {"base": "lerner"}}),
            r"toy.yaml:3: unknown kind of step 'lerner'; did you mean learner",
        ),
        (page(steps={"one": {"like": "none"}}), "unknown earlier step 'none'"),
        (page(steps={"one": {"stage": 1}}), "step 'one' lacks script, commands, kind"),
        (step(stage=4), "stage of step 'two' is 4; use one of 1, 2, 3"),
        (step(script="classify"), r"unknown script 'classify'; did you mean classifier\? \(in step 'two'\)"),
        (step(kind="map"), r"unknown kind 'map'; did you mean maps.*in step 'two'"),
        (step(kind=3), "kind of step 'two' is 3; use one of"),
        (step(commands=["predict", "fit"]), "commands of step 'two'"),
        (step(commands="fit"), "commands of step 'two'"),
        (step(inputs={"--data.x": "one"}), "inputs name settings such as"),
        (step(inputs=["one"]), "inputs must be a mapping"),
        (step(input={}), r"toy.yaml:\d+: unknown key 'input'; did you mean inputs"),
        (step(modle={}), "unknown key 'modle'; did you mean model"),
        (step(**{"modle.init_args.x": 1}), "unknown key 'modle.init_args.x'"),
        (step(budgets={"tiny": {"trianer": {}}}), "unknown key 'trianer'; did you mean trainer"),
        (step(budgets={"tinny": {"trainer.x": 1}}), "unknown budget 'tinny'"),
        (step(backbones={"bgi": {"model.x": 1}}), r"toy.yaml:\d+: unknown backbone 'bgi'; did you mean big"),
        (page(steps={"../x": {**TWO, "inputs": {}}}), "must be lower-case"),
        (variant(skip=["three"]), r"toy.yaml:\d+: unknown step of toy 'three'"),
        (variant(skip=["one"]), "two' in toy:v reads 'one', which is no earlier"),
        (variant(skip=["one", "two"]), "toy:v has no steps"),
        (page(paper={"targts": {}}), r"recipes/toy.yaml:14: unknown key 'targts'; did you mean targets"),
        (page(paper={"targets": {"tow": 1}}), r"toy.yaml:15: unknown step 'tow'; did you mean two"),
        (page(paper={"targets": [1]}), "paper.targets must be a mapping"),
        (page(paper={"ranges": {"tow": [1, 2]}}), r"toy.yaml:15: unknown step 'tow'; did you mean two"),
        (page(paper={"ranges": {"two": [2, 1]}}), r"a range is two numbers of 0..100, the lower first; got"),
        (variant(targets={"tow": 1}), r"toy.yaml:16: unknown step 'tow'; did you mean two"),
        (
            page(steps={**toy()["steps"], "tow": {"model.x": 1}}),
            r"step 'tow' lacks stage.*; did you mean two\? Or give it a base, a kind of step",
        ),
        (variant(args={}), "unknown key 'args'"),
        (variant(like="w"), r"toy.yaml:15: unknown variant of toy 'w'; known: v"),
        (variant(like="tyo:w"), r"toy.yaml:15: unknown recipe 'tyo'; did you mean toy"),
        (variant(like="v"), r"toy.yaml:14: the variants form a circle: toy:v -> toy:v; remove one like"),
        (variant(like=3), r"toy.yaml:15: unknown variant of toy '3'"),
        (variant(steps={"one": {"kind": "maps"}}), "unknown key 'kind'"),
    ],
)
def test_refused(plain: Any, message: str, conf: Conf) -> None:
    conf.write("recipes/toy", plain)
    with pytest.raises(UserError, match=message) as caught:
        conf.load()
    assert "toy.yaml" in str(caught.value)


def test_files_that_name_unknown_things(conf: Conf) -> None:
    conf.write("budgets/tiny", {"lerner": {"trainer.max_epochs": 1}})
    with pytest.raises(
        UserError, match=r"budgets/tiny.yaml:1: unknown kind of step 'lerner'; did you mean learner"
    ):
        conf.load()
    conf.write("budgets/tiny", {})
    conf.write("backbones/big", {"base": "small"})
    conf.write("backbones/small", {"base": "big"})
    conf.write("recipes/toy", toy() | {"backbone": "big"})
    with pytest.raises(UserError, match="the bases form a circle: big -> small -> big"):
        conf.settings()
    conf.write("steps/learner", KIND | {"setps": 1})
    with pytest.raises(UserError, match=r"steps/learner.yaml:\d+: unknown key 'setps'"):
        conf.load()


def test_stages_do_not_go_back(conf: Conf) -> None:
    conf.write("recipes/toy", step(stage=1) | {})
    conf.load()
    plain = toy()
    plain["steps"]["one"]["stage"] = 3
    conf.write("recipes/toy", plain)
    with pytest.raises(UserError, match="go back"):
        conf.load()


def test_yaml_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: [")
    with pytest.raises(UserError, match=r"a.yaml is not valid YAML"):
        read_page(path)
    path.write_text("a: 1\nb: &x {c: [{d: *x}]}\n")
    with pytest.raises(UserError, match=r"a.yaml is not valid YAML: line 2: \*x stands inside of &x"):
        read_page(path)
    path.write_text("a: &x [1]\nb: {c: *x, d: *x}\n")
    assert read_page(path).plain == {"a": [1], "b": {"c": [1], "d": [1]}}
    path.write_text("a: 1\nb: {c: 1, c: 2}\n")
    with pytest.raises(UserError, match=r"a.yaml:2: b.c is given twice, first in line 2"):
        read_page(path)
    with pytest.raises(UserError, match=r"cannot read .*b.yaml"):
        read_page(tmp_path / "b.yaml")


def test_two_packages_with_the_same_page(tmp_path: Path) -> None:
    first, second = Conf(tmp_path / "a"), Conf(tmp_path / "b")
    with pytest.raises(UserError, match=r"two files are recipes/toy: .*a/recipes/toy.yaml and .*rename one"):
        load_recipe(Library((first.folder, second.folder)), "toy")


def test_data_configuration_without_a_data_set(conf: Conf) -> None:
    conf.write("data/own", {"data": {"init_args": {}}})
    with pytest.raises(UserError, match=r"own.yaml must set data.init_args.dataset.class_path"):
        dataset_config(conf.library, "own")


def test_conf_folder_by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAG2MASK_CONF", str(tmp_path))
    with pytest.raises(UserError, match="TAG2MASK_CONF"):
        find_conf()
    (tmp_path / "recipes").mkdir()
    assert find_conf() == tmp_path
