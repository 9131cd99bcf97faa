"""A recipe of four steps for the tests of the runner, whose processes take milliseconds."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tag2mask.pipeline import Request, Settings, run_recipe

FAKE = Path(__file__).with_name("fake_tag2mask.py")
PROGRAM = (sys.executable, str(FAKE))

STEPS = {
    "cam": {"stage": 1, "script": "classifier", "commands": ["fit", "predict"], "kind": "maps", "inputs": {}},
    "learn": {"stage": 2, "script": "affinity", "commands": ["fit"], "kind": "checkpoint",
              "inputs": {"data.init_args.labels_dir": "cam"}},
    "label": {"stage": 2, "script": "pseudo_labels", "commands": ["predict"], "kind": "labels",
              "inputs": {"data.init_args.maps_dir": "cam", "model.init_args.affinity_from": "learn"}},
    "model": {"stage": 3, "script": "segmentation", "commands": ["fit", "predict"], "kind": "segmentation",
              "inputs": {"data.init_args.labels_dir": "label"}},
}  # fmt: skip
ALL = ["cam:fit", "cam:predict", "learn:fit", "label:predict", "model:fit", "model:predict"]
"""The commands of a whole run, as `Bench.started` gives them."""
VARIANTS = {
    "short": {
        "skip": ["learn", "label"],
        "steps": {"model": {"inputs": {"data.init_args.labels_dir": "cam"}}},
    },
    "bare": {"steps": {"label": {"model.init_args.refinements": None}}},
}


class Bench:
    """A folder of configurations, a run folder, and the calls that the fake program noted."""

    def __init__(self, folder: Path) -> None:
        self.conf = folder / "conf"
        self.page = self.conf / "recipes" / "toy.yaml"
        self.run_dir = folder / "run"
        self.calls_file = folder / "calls"
        self.settings = {step: {"lr": 0.1, "of": step} for step in STEPS}
        self.set()
        self.write("budgets/tiny.yaml", {})
        self.write("backbones/resnet50.yaml", {})
        self.write_data("toy", ["cat"])
        self.write("logger/csv.yaml", {"trainer": {"logger": True}})

    def set(self, step: str = "cam", **init_args: Any) -> None:
        """Write the recipe's page, with other settings for a step."""
        self.settings[step] |= init_args
        steps = {}
        for name, plain in STEPS.items():
            budgets = {"tiny": {"trainer": {"max_epochs": 1}}} if "fit" in plain["commands"] else {}
            model = {"init_args": self.settings[name]}
            steps[name] = {**plain, "model": model, "budgets": budgets}
        self.write("recipes/toy.yaml", {"title": "a toy", "steps": steps, "variants": VARIANTS})

    def write(self, name: str, plain: Any) -> Path:
        path = self.conf / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(plain, sort_keys=False))
        return path

    def write_data(self, name: str, classes: list[str], **more: Any) -> Path:
        init = {"root": "here", "classes": classes} | more
        dataset = {"class_path": "tag2mask.data.VOC", "init_args": init}
        return self.write(f"data/{name}.yaml", {"data": {"init_args": {"dataset": dataset}}})

    def request(self, **changes: Any) -> Request:
        settings = {"recipe": "toy", "data": "toy"} | changes.pop("asked", {})
        return replace(Request(Settings(**settings), self.run_dir), **changes)

    def run(self, **changes: Any) -> int:
        return run_recipe(self.request(**changes), PROGRAM)

    def calls(self) -> list[list[str]]:
        """The calls since the last look."""
        if not self.calls_file.exists():
            return []
        lines = self.calls_file.read_text().splitlines()
        self.calls_file.unlink()
        return [json.loads(line) for line in lines]

    def started(self) -> list[str]:
        """The same as ``step:command``, for steps only."""
        return [named(words) for words in self.calls() if words[0] == "step"]

    def started_with(self, step: str) -> dict[str, Any]:
        """The settings in the step's folder."""
        return yaml.safe_load((self.run_dir / step / "settings.yaml").read_text())

    def manifest(self, step: str) -> dict[str, Any]:
        return json.loads((self.run_dir / step / "manifest.json").read_text())


def named(words: list[str]) -> str:
    return f"{Path(value_of(words, '--step-dir')).name}:{words[2]}"


def value_of(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]
