"""Files of steps: settings for tests that start steps by hand, and what finished steps leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tag2mask.artifacts import CommandRecord, Manifest, write_manifest
from tag2mask.core.layers import Setting, nest, overlay
from tag2mask.core.library import data_settings, open_library
from tag2mask.core.recipe_names import split_label
from tag2mask.data import ImageSet
from tag2mask.modules import TrainableNetwork
from tag2mask.pipeline import Choice, Step, load_recipe, resolve
from tag2mask.pipeline.plan import yaml_text

LIBRARY = open_library()


def settings_file(path: Path, step: Step, choice: Choice, data: str = "", **changes: Any) -> Path:
    """Write the resolved settings of a step.

    Args:
        path: the file to write.
        step: the step.
        choice: budget and backbone.
        data: name or path of a data configuration.
        changes: further settings by their path, with two underscores for each dot.
    """
    dataset = data_settings(LIBRARY, data) if data else {}
    given = {name.replace("__", "."): Setting(value, "test") for name, value in changes.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml_text(nest(overlay(resolve(LIBRARY, step, choice), dataset, given))))
    return path


def step_file(
    path: Path, label: str, step: str, budget: str = "full", data: str = "", **changes: Any
) -> Path:
    """The same for the step of a recipe, given by name as RECIPE or RECIPE:VARIANT."""
    recipe, variant = split_label(label)
    found = load_recipe(LIBRARY, recipe, variant, budget=budget).step(step)
    return settings_file(path, found, Choice(budget), data, **changes)


def finished_step(folder: Path, kind: str, images: ImageSet, checkpoint: str = "") -> Path:
    """The manifest of a step that is done with the train images of a data set."""
    ids, done = images.ids("train"), CommandRecord(complete=True)
    manifest = Manifest(
        step=folder.name, kind=kind, recipe="sc_cam", classes=images.classes.to_dict(),
        data=images.describe(), split="train", image_ids=ids,
        commands={"fit": done, "predict": done}, checkpoint=checkpoint, complete=True,
    )  # fmt: skip
    write_manifest(folder, manifest)
    return folder


def trained_step(folder: Path, module: TrainableNetwork, images: ImageSet) -> Path:
    """The folder of a step that trained a network: its manifest and its checkpoint."""
    checkpoint: dict[str, Any] = {}
    module.classes = images.classes
    module.on_save_checkpoint(checkpoint)
    folder.mkdir(parents=True)
    torch.save({**checkpoint, "state_dict": module.state_dict()}, folder / "last.ckpt")
    return finished_step(folder, module.kind, images, "last.ckpt")
