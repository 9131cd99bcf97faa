"""A folder of configurations with a toy recipe, for the tests of pages."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tag2mask.core.library import Library, open_library
from tag2mask.pipeline import Choice, load_recipe, resolve
from tag2mask.pipeline.resolve import check_sections

LIBRARY = open_library()
KIND = {
    "stage": 1,
    "script": "classifier",
    "commands": ["fit", "predict"],
    "kind": "maps",
    "inputs": {},
    "model": {"class_path": "a.B", "init_args": {"width": 1, "lr": 0.1}},
}
TWO = {
    "stage": 2,
    "script": "pseudo_labels",
    "commands": ["predict"],
    "kind": "labels",
    "inputs": {"data.init_args.maps_dir": "one"},
}


def toy() -> dict[str, Any]:
    return {"title": "a toy", "steps": {"one": {"base": "learner"}, "two": copy.deepcopy(TWO)}}


class Conf:
    """A folder of configurations."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("steps/learner", KIND)
        self.write("recipes/toy", toy())
        for backbone in ("big", "small"):
            self.write(f"backbones/{backbone}", {})

    def write(self, name: str, plain: Any) -> None:
        path = self.folder / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(yaml.safe_dump(plain, sort_keys=False))

    @property
    def library(self) -> Library:
        return Library((self.folder,))

    def load(self, name: str = "toy", variant: str = "") -> Any:
        recipe = load_recipe(self.library, name, variant)
        check_sections(self.library, recipe)
        return recipe

    def settings(
        self, step: str = "one", name: str = "toy", variant: str = "", **choice: Any
    ) -> dict[str, Any]:
        settings = resolve(self.library, self.load(name, variant).step(step), Choice(**choice))
        return {path: setting.value for path, setting in settings.items()}


@pytest.fixture
def conf(tmp_path: Path) -> Conf:
    return Conf(tmp_path / "conf")
