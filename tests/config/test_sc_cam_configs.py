"""SC-CAM's recipe file: how the rounds are chained, how long each is, and what its variants change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tag2mask.pipeline import load_recipe

RECIPES = Path(__file__).resolve().parents[2] / "conf" / "recipes"
SC_CAM = RECIPES / "sc_cam"


def load(name: str) -> dict[str, Any]:
    plain: dict[str, Any] = yaml.safe_load((SC_CAM / name).read_text())
    return plain


def test_each_round_learns_from_the_network_before() -> None:
    recipe = load_recipe(SC_CAM)
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
    recipe = load_recipe(SC_CAM, rounds=rounds)
    configs = [load(f"{recipe.step(f'cam_{r}').config_name}.yaml") for r in range(1, rounds + 1)]
    assert [c["trainer"]["max_epochs"] for c in configs] == [31, 41, 51, 51, 51][:rounds]
    assert all(c["model"]["init_args"]["schedule_epochs"] == 61 for c in configs)


@pytest.mark.parametrize("ending", ["", ".small", ".tiny"])
def test_rounds_differ_in_their_length_only(ending: str) -> None:
    plain = [load(f"cam_{name}{ending}.yaml") for name in ("first", "second", "third")]
    for config in plain:
        del config["trainer"]["max_epochs"]
    assert plain[0] == plain[1] == plain[2]


def test_small_budget_has_one_round() -> None:
    names = [step.name for step in load_recipe(SC_CAM, budget="small").steps]
    assert "cam_1" in names and "cam_2" not in names
    assert load_recipe(SC_CAM, rounds=2, budget="small").step("cam_2")


@pytest.mark.parametrize("ending", ["", ".small"])
def test_round_0_is_psas_classifier_so_that_a_run_of_psa_can_be_reused(ending: str) -> None:
    name = f"cam{ending}.yaml"
    assert load(name) == yaml.safe_load((RECIPES / "psa" / name).read_text())


def test_round_0_alone() -> None:
    recipe = load_recipe(SC_CAM, "round0")
    assert [step.name for step in recipe.steps] == [
        "cam", "affinity_labels", "affinity", "walk", "pseudo_label", "segmentation",
    ]  # fmt: skip
    assert recipe.step("affinity_labels").inputs == {"data.init_args.maps_dir": "cam"}


@pytest.mark.parametrize("count", [5, 20, 50])
def test_numbers_of_sub_categories_agree(count: int) -> None:
    recipe = load_recipe(SC_CAM, f"k{count}")
    for number in (1, 2, 3):
        assert recipe.step(f"clusters_{number}").args == ("--model.init_args.sub_categories", str(count))
        assert recipe.step(f"cam_{number}").args == (
            "--model.init_args.sub_categories", str(count), "--data.init_args.sub_categories", str(count),
        )  # fmt: skip
