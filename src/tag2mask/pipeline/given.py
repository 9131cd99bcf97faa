"""Folders that the user gives a step to read, in place of those of the steps that its recipe names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tag2mask.artifacts import manifest_hash, require_step
from tag2mask.core.errors import UserError
from tag2mask.core.layers import Layer
from tag2mask.pipeline.steps import Recipe, Step

Given = Mapping[str, Path | None]
"""Option of an input -> the folder to read instead, None for nothing."""
_TRAIN = "train"


def given_inputs(step: Step, asked: Layer) -> Given:
    """The inputs of a step that the user sets.

    Args:
        step: as the recipe has it.
        asked: the settings that the user gives to it.
    """
    values = {option: asked[option].value for option in step.inputs if option in asked}
    return {k: None if v in (None, "null") else Path(str(v)).resolve() for k, v in values.items()}


def without(step: Step, given: Given) -> Step:
    """The step with those inputs alone that its recipe still decides on."""
    return replace(step, inputs={k: source for k, source in step.inputs.items() if k not in given})


def check_folders(recipe: Recipe, step: Step, given: Given, asked: Layer) -> None:
    """Refuse folders on which the step would fail, maybe hours later.

    Args:
        recipe: the recipe with its copies on val, which also read what is given to their steps.
        step: as the recipe has it.
        given: its inputs that the user sets.
        asked: the settings that the user gives to it.

    Raises:
        UserError: a folder holds no finished step, or results of train where the step needs those of val.
    """
    for option, folder in given.items():
        if folder is None:
            continue
        try:
            split = require_step(folder).split
        except UserError as error:
            raise UserError(f"{asked[option].origin}: {error}") from error
        if split == _TRAIN and recipe.step(step.inputs[option]).copy_of:
            raise UserError(
                f"{asked[option].origin}: {folder} holds results of {split}, and step {step.name} of "
                f"--val-labels needs those of val: name their folder with --{step.name}.{option}, or leave "
                f"{step.name} out by naming the steps to make with --step"
            )


def folder_hashes(given: Given) -> dict[str, str]:
    """What tells the folders by their content: option -> hash of the manifest."""
    return {option: manifest_hash(folder) for option, folder in given.items() if folder is not None}
