"""Folders that the user gives a step to read, in place of those of the steps that its recipe names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tag2mask.artifacts import manifest_hash
from tag2mask.core.errors import UserError
from tag2mask.core.pages import Layer
from tag2mask.pipeline.steps import Step

Given = Mapping[str, Path | None]
"""Option of an input -> the folder to read instead, None for nothing."""


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


def folder_hashes(given: Given, asked: Layer) -> dict[str, str]:
    """What tells the folders by their content: option -> hash of the manifest.

    Raises:
        UserError: a folder holds no finished step.
    """
    hashes = {}
    for option, folder in given.items():
        if folder is not None:
            try:
                hashes[option] = manifest_hash(folder)
            except UserError as error:
                raise UserError(f"{asked[option].origin}: {error}") from error
    return hashes
