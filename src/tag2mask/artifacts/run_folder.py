"""The steps that a run folder holds, and what each was configured with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tag2mask.artifacts.manifest import Manifest, read_manifest
from tag2mask.artifacts.names import config_name
from tag2mask.core.errors import UserError
from tag2mask.core.pages import read_page


def read_manifests(run_dir: str | Path) -> dict[str, Manifest]:
    """The manifest of each step of a run, by its name, inputs before what is made from them.

    Raises:
        UserError: the folder is missing, holds no step, or a manifest is broken.
    """
    folder = Path(run_dir)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder of a run")
    found = {}
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        if inner.name.endswith(".previous"):  # what a step held before it was made again
            continue
        manifest = read_manifest(inner)
        if manifest is not None:
            found[inner.name] = manifest
    if not found:
        raise UserError(f"{folder} holds no step of a run (no folder in it has a manifest.json)")
    return _in_order(found)


def read_configuration(step_dir: str | Path) -> dict[str, Any]:
    """The resolved configuration that a step was trained (or else predicted) with; {} if none was saved.

    Raises:
        UserError: it is not valid YAML.
    """
    for command in ("fit", "predict"):
        path = Path(step_dir) / config_name(command)
        if path.is_file():
            return read_page(path).plain
    return {}


def _in_order(manifests: dict[str, Manifest]) -> dict[str, Manifest]:
    ordered, waiting = dict[str, Manifest](), dict(manifests)
    while waiting:
        ready = [name for name, made in waiting.items() if not set(waiting) & (set(made.parents) - {name})]
        # manifests written by hand may name each other: then the order of names has to do
        chosen = ready[0] if ready else next(iter(waiting))
        ordered[chosen] = waiting.pop(chosen)
    return ordered
