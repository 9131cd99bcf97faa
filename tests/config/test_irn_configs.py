"""IRN's recipe file: the published settings, and what it shares with psa's runs."""

from __future__ import annotations

from typing import Any

import pytest

from tag2mask.pipeline import Choice, load_recipe, resolve
from tests.step_files import LIBRARY


def settings(step: str, choice: Choice, recipe: str = "irn") -> dict[str, Any]:
    found = load_recipe(LIBRARY, recipe).step(step)
    return {path: setting.value for path, setting in resolve(LIBRARY, found, choice).items()}


def test_the_published_training() -> None:
    cam, affinity = settings("cam", Choice("full")), settings("affinity", Choice("full"))
    # batches of 16 for 5 epochs and of 32 for 3; the head, whose layers are new, at 0.1
    assert [cam["data.init_args.batch_size"], cam["trainer.max_epochs"]] == [16, 5]
    assert [affinity["data.init_args.batch_size"], affinity["trainer.max_epochs"]] == [32, 3]
    assert cam["model.init_args.optimization.lr"] == 0.1
    assert affinity["model.init_args.optimization.lr"] == pytest.approx(0.1 / 10)
    assert cam["model.init_args.backbone.name"] == affinity["model.init_args.backbone.name"] == "resnet50_irn"
    assert affinity["model.init_args.radius"] == 10


def links(step: str, budget: str) -> list[tuple[str, dict[str, Any]]]:
    found = settings(step, Choice(budget))["model.init_args.refinements"] or []
    return [(link["class_path"].rpartition(".")[2], link["init_args"]) for link in found]


def test_the_published_walk_ends_without_a_crf() -> None:
    for budget in ("full", "tiny", "demo"):
        walk, background = links("walk", budget)
        assert walk == ("BoundaryWalk", {"beta": 10, "steps": 256, "radius": 5})
        assert background == ("Background", {"alpha": None, "level": 0.25})
        assert links("pseudo_label", budget) == []
    assert [name for name, _ in links("pseudo_label", "small")] == ["DenseCRF"]


def test_maps_of_a_run_of_psa_can_be_reused() -> None:
    light = Choice("small", "mobilenetv2_100")
    assert settings("cam", light) == settings("cam", light, "psa")
