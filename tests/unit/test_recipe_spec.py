"""Recipes as pages: what is read and inherited, and how settings are resolved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tag2mask.core import UserError, unknown_name
from tag2mask.core.alarms import FEWEST_STEPS
from tag2mask.core.layers import Setting, nest, overlay
from tag2mask.heads import HeadSpec
from tag2mask.pipeline import Choice, load_recipe, resolve
from tag2mask.pipeline.resolve import budgets_of, refused_budgets, require_budget
from tag2mask.pipeline.show import describe
from tests.recipe_pages import LIBRARY, TWO, Conf, conf, toy

__all__ = ["conf"]  # the fixture of these tests


def test_psa_is_the_papers_order() -> None:
    recipe = load_recipe(LIBRARY, "psa")
    assert [(s.name, s.stage, s.script, s.commands, s.kind) for s in recipe.steps] == [
        ("cam", 1, "classifier", ("fit", "predict"), "maps"),
        ("affinity_labels", 2, "pseudo_labels", ("predict",), "affinity_labels"),
        ("affinity", 2, "affinity", ("fit",), "checkpoint"),
        ("walk", 2, "pseudo_labels", ("predict",), "maps"),
        ("pseudo_label", 2, "pseudo_labels", ("predict",), "labels"),
        ("segmentation", 3, "segmentation", ("fit", "predict"), "segmentation"),
    ]
    assert [step.name for step in recipe.steps if not step.score] == ["affinity"]
    assert recipe.step("walk").inputs == {
        "data.init_args.maps_dir": "cam",
        "model.init_args.affinity_from": "affinity",
    }
    # Ahn and Kwak 2018, tables 1 and 2
    assert recipe.paper["targets"] == {"cam": 48.0, "walk": 58.1, "pseudo_label": 59.7, "segmentation": 61.7}


def test_psa_variants() -> None:
    no_walk = load_recipe(LIBRARY, "psa", "no_walk")
    assert [s.name for s in no_walk.steps] == ["cam", "pseudo_label", "segmentation"]
    assert no_walk.step("pseudo_label").inputs == {"data.init_args.maps_dir": "cam"}
    no_crf = load_recipe(LIBRARY, "psa", "no_crf")
    assert (
        resolve(LIBRARY, no_crf.step("pseudo_label"), Choice("small"))["model.init_args.refinements"].value
        is None
    )
    assert no_crf.label == "psa:no_crf"
    cam, bound = load_recipe(LIBRARY, "psa", "supervised").steps
    assert cam.name == "cam" and bound.name == "segmentation"
    assert bound.inputs == {"model.init_args.classifier_from": "cam"}
    assert resolve(LIBRARY, bound, Choice())["data.init_args.supervision"].value == "masks"
    # a variant may say what a budget changes: true masks have no mistakes that a long training would learn
    assert resolve(LIBRARY, bound, Choice("small"))["trainer.max_epochs"].value == 12
    assert "trainer.max_epochs" not in resolve(LIBRARY, bound, Choice())
    # smaller crops and, where the budget has few epochs, more of them: as long as before
    crops = load_recipe(LIBRARY, "psa", "crops_224").step("cam")
    for budget, epochs in (("full", 15), ("small", 12)):
        settings = resolve(LIBRARY, crops, Choice(budget))
        assert settings["data.init_args.augment.crop"].value == 224
        assert settings["trainer.max_epochs"].value == epochs


def test_a_variant_has_the_papers_numbers_for_itself() -> None:
    assert load_recipe(LIBRARY, "rrm", "ce_only").paper["targets"] == {"joint": 48.5}  # table 2
    # The recipe's own numbers would be another network's.
    assert load_recipe(LIBRARY, "psa", "supervised").paper["targets"] == {}
    for name in LIBRARY.names("recipes"):
        for variant, facts in load_recipe(LIBRARY, name).variants.items():
            steps = {step.name for step in load_recipe(LIBRARY, name, variant).steps}
            assert set(facts["targets"]) <= steps, variant


def test_a_light_backbone_is_as_good_a_citizen_as_the_default_one() -> None:
    for name in LIBRARY.names("recipes"):
        for step in load_recipe(LIBRARY, name, budget="small").steps:
            usual = resolve(LIBRARY, step, Choice("small"))
            other = resolve(LIBRARY, step, Choice("small", "tf_efficientnet_lite0"))
            differing = {path for path in {*usual, *other} if usual[path].value != other[path].value}
            assert differing == ({"model.init_args.backbone.name"} if step.trains else set()), step.name


def test_few_images_have_steps_enough_but_no_classifier_learns_them_by_heart() -> None:
    """After 120 steps on 29 photos the maps were flat, and labels grew over the background."""
    steps = [step for step in load_recipe(LIBRARY, "psa", budget="small").steps if step.trains]
    least = {step.name: resolve(LIBRARY, step, Choice("small"))["trainer.min_steps"].value for step in steps}
    assert least == {"cam": FEWEST_STEPS, "affinity": 120, "segmentation": 120}


def test_layers_and_their_order(conf: Conf) -> None:
    page = toy() | {"backbone": "big", "variants": {"v": {"steps": {"one": {"model.init_args.lr": 7}}}}}
    page["steps"]["one"] |= {
        "model.init_args": {"width": 2, "depth": 2},
        "backbones": {"big": {"model.init_args.lr": 3}},
        "budgets": {"tiny": {"trainer.max_epochs": 5}},
    }
    conf.write("recipes/toy", page)
    conf.write("backbones/big", {"learner": {"model.init_args": {"lr": 2, "frozen": []}}})
    conf.write("backbones/small", {"base": "big", "learner": {"model.init_args.lr": 4}})
    conf.write(
        "budgets/tiny",
        {"backbone": "small", "learner": {"trainer": {"max_epochs": 4}, "model.init_args.depth": 1}},
    )
    start = {"model.class_path": "a.B", "model.init_args.width": 2, "model.init_args.frozen": []}
    name = "model.init_args.backbone.name"
    full = conf.settings()
    assert full == start | {"model.init_args.lr": 3, "model.init_args.depth": 2, name: "big"}
    tiny = start | {"model.init_args.depth": 1, "trainer.max_epochs": 5}
    # what the page says of a backbone holds for those that are based on it, and for no other
    assert conf.settings(budget="tiny") == tiny | {"model.init_args.lr": 3, name: "small"}
    assert conf.settings(budget="tiny", variant="v")["model.init_args.lr"] == 7
    conf.write("backbones/small", {"learner": {"model.init_args.lr": 4}})
    assert conf.settings(budget="tiny")["model.init_args.lr"] == 4
    conf.write("backbones/small", {"base": "big", "learner": {"model.init_args.lr": 4}})
    assert conf.settings(budget="tiny", backbone="big")[name] == "big"
    origins = resolve(conf.library, conf.load().step("one"), Choice("tiny"))
    assert origins["model.init_args.depth"].origin == "budgets/tiny.yaml:5"
    assert origins["trainer.max_epochs"].origin == "recipes/toy.yaml:13"


def test_a_page_inherits_changes_adds_and_leaves_out(conf: Conf) -> None:
    page = toy()
    page["steps"] |= {"three": {**TWO, "inputs": {}, "model.init_args.x": 1}}
    conf.write("recipes/toy", page | {"variants": {"v": {}}, "paper": {"citation": "c"}})
    steps = {
        "one": {"model.init_args.lr": 5},
        "new": {**TWO},
        "three": {"like": "new", "model.init_args.y": 2},
    }
    conf.write("recipes/other", {"base": "toy", "title": "another", "skip": ["two"], "steps": steps})
    other = conf.load("other")
    assert [step.name for step in other.steps] == ["one", "new", "three"]
    # a variant and a paper belong to one page
    assert other.variants == {} and other.paper == {} and other.name == "other"
    assert conf.settings("one", "other")["model.init_args.lr"] == 5
    assert conf.settings("one", "other")["model.init_args.width"] == 1
    assert other.step("three").inputs == {"data.init_args.maps_dir": "one"}
    assert conf.settings("three", "other") == {"model.init_args.y": 2}


def test_page_by_its_path(conf: Conf, tmp_path: Path) -> None:
    own = tmp_path / "elsewhere" / "mine.yaml"
    own.parent.mkdir()
    own.write_text("base: toy\ntitle: mine\nsteps: {one: {model.init_args.lr: 1e-3}}\n")
    assert conf.load(str(own)).name == "mine"
    assert conf.settings("one", str(own))["model.init_args.lr"] == 0.001  # a number, not the text of YAML 1.1
    (own.parent / "more.yaml").write_text("base: mine.yaml\ntitle: more\n")
    assert conf.settings("one", str(own.parent / "more.yaml"))["model.init_args.lr"] == 0.001


def test_messages_name_a_page_outside_a_conf_folder_by_its_path(conf: Conf, tmp_path: Path) -> None:
    own = tmp_path / "recipes" / "mine.yaml"
    own.parent.mkdir()
    own.write_text("base: toy\ntitle: mine\nsteps:\n  oen: {model.init_args.lr: 1}\n")
    with pytest.raises(UserError) as caught:
        conf.load(str(own))
    assert str(caught.value).startswith(f"{own}:4: step 'oen' lacks ")
    assert "; did you mean one? Or give it a base" in str(caught.value)


def test_targets_are_of_steps_in_any_number_of_rounds(conf: Conf) -> None:
    steps = {"one": {"base": "learner"}, "two_{round}": TWO}
    targets = {"one": 1.0, "two_1": 2.0, "two_4": 3.0}
    plain = {"title": "a toy", "rounds": 1, "steps": steps, "paper": {"targets": targets}}
    conf.write("recipes/toy", plain)
    assert conf.load().paper["targets"] == targets
    targets["two_x"] = 4.0
    conf.write("recipes/toy", plain)
    with pytest.raises(UserError, match="unknown step 'two_x'; did you mean two_1"):
        conf.load()


def test_a_list_of_known_names_ends_before_the_hint() -> None:
    assert (
        str(unknown_name("page", "x", ["a", "b"], "List them."))
        == "unknown page 'x'; known: a, b. List them."
    )
    assert str(unknown_name("page", "ab", ["abc"], "List.")) == "unknown page 'ab'; did you mean abc? List."
    assert (
        str(unknown_name("kind of step", 7, ["walk"])) == "unknown kind of step 7; known: walk"
    )  # a key of YAML


def test_unknown_backbone_of_a_page_has_its_line(conf: Conf) -> None:
    conf.write("recipes/toy", toy() | {"backbone": "bgi"})
    with pytest.raises(UserError, match=r"^recipes/toy.yaml:13: unknown backbone 'bgi'; did you mean big"):
        conf.settings()
    page = toy()
    page["steps"]["one"]["backbone"] = "smal"
    conf.write("recipes/toy", page)
    with pytest.raises(UserError, match=r"^recipes/toy.yaml:5: unknown backbone 'smal'; did you mean small"):
        conf.settings()


def _chain(*names: str) -> dict[str, Any]:
    return {
        "model.init_args.links": [
            {"class_path": f"a.{name}", "init_args": {"x": len(names)}} for name in names
        ]
    }


@pytest.mark.parametrize(("ours", "told"), [(("Mine",), "Mine"), ((), "empty")])
def test_a_budget_puts_no_other_method_into_a_chain(conf: Conf, ours: tuple[str, ...], told: str) -> None:
    conf.write("budgets/tiny", {"learner": {"trainer.max_epochs": 1, **_chain("Walk", "CRF")}})
    page = toy()
    page["steps"]["one"] |= _chain("Other")
    conf.write("recipes/toy", page)
    conf.write("recipes/mine", {"base": "toy", "title": "mine", "steps": {"one": _chain(*ours)}})
    message = (
        rf"step one: model.init_args.links is {told} in recipes/mine.yaml:\d+, and Walk, CRF in the budget"
    )
    with pytest.raises(
        UserError, match=message + r" \(budgets/tiny.yaml:\d+\).*under budgets.tiny of the step"
    ):
        conf.settings(name="mine", budget="tiny")
    assert [link["class_path"] for link in conf.settings(name="mine")["model.init_args.links"]] == [
        f"a.{name}" for name in ours
    ]
    both = {**_chain(*ours), "budgets": {"tiny": _chain("Mine", "CRF")}}
    conf.write("recipes/mine", {"base": "toy", "title": "mine", "steps": {"one": both}})
    assert conf.settings(name="mine", budget="tiny") | _chain("Mine", "CRF") == conf.settings(
        name="mine", budget="tiny"
    )


def test_a_budget_sets_the_levels_of_the_same_chain(conf: Conf) -> None:
    theirs = {"model.init_args.links": [{"class_path": "a.Walk", "init_args": {"x": 7}}]}
    conf.write("budgets/tiny", {"learner": {"trainer.max_epochs": 1, **theirs}})
    page = toy() | {"variants": {"none": {"title": "", "steps": {"one": {"model.init_args.links": None}}}}}
    page["steps"]["one"] |= _chain("Walk")
    conf.write("recipes/toy", page)
    assert conf.settings(budget="tiny") | theirs == conf.settings(budget="tiny")
    # a variant comes after the budget and says what it means
    assert conf.settings(budget="tiny", variant="none")["model.init_args.links"] is None


def test_a_budget_that_exchanges_the_chain_is_not_listed_as_one_that_works(conf: Conf) -> None:
    conf.write("budgets/tiny", {"learner": {"trainer.max_epochs": 1, **_chain("Walk")}})
    conf.write("budgets/short", {"learner": {"trainer.max_epochs": 1}})
    page = toy()
    page["steps"]["one"] |= _chain("Mine")
    conf.write("recipes/toy", page)
    (refused,) = refused_budgets(conf.library, conf.load()).values()
    with pytest.raises(UserError) as caught:
        conf.settings(budget="tiny")
    assert str(caught.value) == refused and "is Mine in " in refused
    told = describe(conf.library, conf.load())
    assert "  budgets: full, short\n" in told and f"  budget tiny is refused: {refused}" in told
    with pytest.raises(UserError, match="'tin'; known: full, short"):
        require_budget(conf.library, conf.load(), "tin")
    require_budget(conf.library, conf.load(), "tiny")  # resolving it tells why not


def test_budgets_are_those_that_say_how_long_each_step_trains(conf: Conf) -> None:
    conf.write("budgets/tiny", {"learner": {"trainer.max_steps": 1}})
    conf.write("budgets/other", {})
    assert budgets_of(conf.library, conf.load()) == ["full", "tiny"]
    with pytest.raises(UserError, match=r"one has no budget 'other'.*budgets.other; or use --budget full"):
        conf.settings(budget="other")
    assert conf.settings("two", budget="other") == {}  # it trains nothing


def test_an_optimiser_takes_its_arguments_along() -> None:
    sgd = {"a.optimizer": Setting("SGD", ""), "a.optimizer_args.momentum": Setting(0.9, "")}
    assert nest(overlay(sgd, {"a.optimizer": Setting("AdamW", "")})) == {"a": {"optimizer": "AdamW"}}
    other = {"a.optimizer": Setting("SGD", ""), "a.optimizer_args.nesterov": Setting(True, "")}
    assert nest(overlay(sgd, other))["a"]["optimizer_args"] == {"momentum": 0.9, "nesterov": True}


def test_overlay_of_groups_and_values() -> None:
    def layer(**plain: Any) -> dict[str, Setting]:
        return {path.replace("_", "."): Setting(value, "") for path, value in plain.items()}

    assert nest(overlay(layer(a_b=1, a_c=2), layer(a=None))) == {"a": None}
    assert nest(overlay(layer(a=None), layer(a_b=1))) == {"a": {"b": 1}}
    assert nest(overlay(layer(a_b=1), layer(a={}))) == {"a": {"b": 1}}
    assert nest(overlay(layer(a_b=[1, 2]), layer(a_b=[3]))) == {"a": {"b": [3]}}


def test_unknown_names_come_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown variant of psa 'no_wlk'; did you mean no_walk"):
        load_recipe(LIBRARY, "psa", "no_wlk")
    with pytest.raises(UserError, match=r"unknown step of psa 'wlak'; did you mean walk"):
        load_recipe(LIBRARY, "psa").step("wlak")
    with pytest.raises(UserError, match=r"unknown recipe 'pas'; did you mean psa.*tag2mask recipes"):
        load_recipe(LIBRARY, "pas")
    with pytest.raises(UserError, match="unknown data configuration"):
        LIBRARY.find("data", "vok")
    with pytest.raises(UserError, match=r"no file nowhere.yaml"):
        LIBRARY.find("data", "nowhere.yaml")
    # a file system says "name too long" of these, not that there is no such file: found by make fuzz
    for name in ("é" * 300, "é" * 300 + ".yaml", "a/" * 3000):
        with pytest.raises(
            UserError, match=r"^one.yaml:3: no kind of step has a name as long as [éa/]{40}\.\.\."
        ):
            LIBRARY.find("steps", name, "one.yaml:3")


@pytest.mark.parametrize("budget", ["full", "small", "tiny"])
def test_every_head_fits_and_a_start_from_the_classifier_has_its_backbone(budget: str) -> None:
    for name in LIBRARY.names("recipes"):
        for variant in ("", *load_recipe(LIBRARY, name).variants):
            recipe = load_recipe(LIBRARY, name, variant, budget=budget)
            settings = {step.name: resolve(LIBRARY, step, Choice(budget)) for step in recipe.steps}
            for step in recipe.steps:
                own = {path: setting.value for path, setting in settings[step.name].items()}
                head = "model.init_args.head."
                HeadSpec(**{path.removeprefix(head): v for path, v in own.items() if path.startswith(head)})
                if own.get("model.init_args.start") == "classifier":
                    classifier = settings[step.inputs["model.init_args.classifier_from"]]
                    backbone = "model.init_args.backbone.name"
                    assert own[backbone] == classifier[backbone].value, f"{recipe.label} {step.name}"
