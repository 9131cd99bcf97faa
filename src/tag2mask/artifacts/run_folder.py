"""The steps that a run folder holds, and what each was configured with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tag2mask.artifacts.manifest import MANIFEST_NAME, Manifest, read_manifest
from tag2mask.artifacts.names import RUN_NAME, SETTINGS_NAME, config_name
from tag2mask.artifacts.sources import moved_path
from tag2mask.core.errors import UserError
from tag2mask.core.layers import value_at
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
        raise UserError(f"{folder} holds no step of a run (no folder in it has a {MANIFEST_NAME})")
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


def known_settings(step_dir: str | Path) -> dict[str, Any]:
    """Settings that the runner started a step with; {} where there are none, or they are broken."""
    return _known(Path(step_dir) / SETTINGS_NAME)


def root_of(settings: Mapping[str, Any]) -> str:
    """The root of the data set in a step's settings, "" where there is none."""
    root = value_at(settings, "data.init_args.dataset.init_args.root")
    return root if isinstance(root, str) else ""


def data_of_now(step_dir: str | Path, described: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of the data set, with the root that its run folder names now: data may have moved.

    Args:
        step_dir: the step's folder.
        described: the description in its manifest.
    """
    before, now = root_of(known_settings(step_dir)), _known(Path(step_dir).parent / RUN_NAME).get("data_root")
    given = described.get("init_args")
    if not before or not isinstance(now, str) or before == now or not isinstance(given, Mapping):
        return dict(described)
    places = {name: value for name, value in given.items() if isinstance(value, str) and value[:1] == "/"}
    moved = {name: moved_path(place, before, now) for name, place in places.items()}
    return {**described, "init_args": {**given, **moved}}


def _known(path: Path) -> dict[str, Any]:
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):  # who asks can do without
        return {}
    return plain if isinstance(plain, dict) else {}


def _in_order(manifests: dict[str, Manifest]) -> dict[str, Manifest]:
    ordered, waiting = dict[str, Manifest](), dict(manifests)
    while waiting:
        ready = [name for name, made in waiting.items() if not set(waiting) & (set(made.parents) - {name})]
        # manifests written by hand may name each other: then the order of names has to do
        chosen = ready[0] if ready else next(iter(waiting))
        ordered[chosen] = waiting.pop(chosen)
    return ordered
