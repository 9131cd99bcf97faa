"""SC-CAM's recipe file: how the rounds are chained, how long each is, and what its variants change."""

from __future__ import annotations

from typing import Any

import pytest

from tag2mask.pipeline import Choice, load_recipe, resolve
from tests.step_files import LIBRARY


def settings(step: str, budget: str = "full", recipe: str = "sc_cam", **how: Any) -> dict[str, Any]:
    found = load_recipe(LIBRARY, recipe, **how).step(step)
    return {path: setting.value for path, setting in resolve(LIBRARY, found, Choice(budget)).items()}


def test_each_round_learns_from_the_network_before() -> None:
    recipe = load_recipe(LIBRARY, "sc_cam")
    before = [recipe.step(f"features_{r}").inputs["model.init_args.classifier_from"] for r in (1, 2, 3)]
    assert before == ["cam", "cam_1", "cam_2"]
    for number in (1, 2, 3):
        clusters, cam = recipe.step(f"clusters_{number}"), recipe.step(f"cam_{number}")
        assert clusters.inputs == {"data.init_args.features_dir": f"features_{number}"}
        assert cam.inputs == {"data.init_args.sub_labels_dir": f"clusters_{number}"}
    for name in ("affinity_labels", "walk", "segmentation"):
        assert "cam_3" in recipe.step(name).inputs.values()


@pytest.mark.parametrize("rounds", [1, 2, 3, 5])
def test_a_round_has_its_published_length_however_many_follow(rounds: int) -> None:
    configs = [settings(f"cam_{r}", rounds=rounds) for r in range(1, rounds + 1)]
    assert [c["trainer.max_epochs"] for c in configs] == [31, 41, 51, 51, 51][:rounds]
    assert all(c["model.init_args.schedule_epochs"] == 61 for c in configs)


@pytest.mark.parametrize("budget", ["full", "small", "tiny"])
def test_rounds_differ_in_their_length_only(budget: str) -> None:
    first, second, third = (settings(f"cam_{r}", budget) for r in (1, 2, 3))
    for config in (first, second, third):
        del config["trainer.max_epochs"]
    assert first == second == third


def test_small_budget_has_one_round() -> None:
    names = [step.name for step in load_recipe(LIBRARY, "sc_cam", budget="small").steps]
    assert "cam_1" in names and "cam_2" not in names
    assert load_recipe(LIBRARY, "sc_cam", rounds=2, budget="small").step("cam_2")


@pytest.mark.parametrize("budget", ["full", "small"])
def test_round_0_is_psas_classifier_so_that_a_run_of_psa_can_be_reused(budget: str) -> None:
    assert settings("cam", budget) == settings("cam", budget, "psa")


def test_round_0_alone() -> None:
    recipe = load_recipe(LIBRARY, "sc_cam", "round0")
    assert [step.name for step in recipe.steps] == [
        "cam", "affinity_labels", "affinity", "walk", "pseudo_label", "segmentation",
    ]  # fmt: skip
    assert recipe.step("affinity_labels").inputs == {"data.init_args.maps_dir": "cam"}


@pytest.mark.parametrize("count", [5, 20, 50])
def test_numbers_of_sub_categories_agree(count: int) -> None:
    for number in (1, 2, 3):
        clusters, cam = (settings(f"{name}_{number}", variant=f"k{count}") for name in ("clusters", "cam"))
        assert clusters["model.init_args.sub_categories"] == count
        assert cam["model.init_args.sub_categories"] == cam["data.init_args.sub_categories"] == count
