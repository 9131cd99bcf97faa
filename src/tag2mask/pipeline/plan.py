"""What the commands of each step are started with, and a fingerprint of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tag2mask.artifacts import sha256_file, sha256_json
from tag2mask.core.errors import unknown_name
from tag2mask.pipeline.configs import (
    budget_names,
    dataset_config,
    named_config,
    resolve_yaml,
    step_configs,
)
from tag2mask.pipeline.settings import Settings
from tag2mask.pipeline.spec import NETWORK_SCRIPTS, Recipe, Step

_DATASET = "data.init_args.dataset.init_args"
_LIST_FILES = (".csv", ".txt", ".npy", ".json")


@dataclass(frozen=True)
class Extras:
    """What is asked for this time only, and not remembered by the run folder.

    Attributes:
        devices: devices per command.
        logger: name of a logger configuration.
        step_args: options for one step, by its name.
        args: options for every chosen step.
    """

    devices: int | None = None
    logger: str | None = None
    step_args: Mapping[str, Sequence[str]] = field(default_factory=dict)
    args: Sequence[str] = ()


@dataclass(frozen=True)
class StepPlan:
    """How to start a step's commands.

    Attributes:
        step: the step.
        folder: the step's folder in the run.
        recipe: what the stage process is told as recipe.
        configs: configuration files, in the order in which they are merged.
        inputs: option -> folder of an earlier step.
        options: the remaining options.
        parts: what decides on the result, as plain values: the source of the fingerprint.
    """

    step: Step
    folder: Path
    recipe: str
    configs: tuple[Path, ...]
    inputs: dict[str, Path]
    options: tuple[str, ...]
    parts: dict[str, Any]

    def fingerprinted(self, command: str, parents: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
        """Fingerprint of a command and the parts it is made of.

        Args:
            command: ``fit`` or ``predict``.
            parents: hash of the manifest of each input step.
        """
        parts = {**self.parts, "command": command, "parents": dict(sorted(parents.items()))}
        return sha256_json(parts), parts

    def words(self, command: str, fingerprint: str) -> list[str]:
        """The command line behind ``python -m tag2mask``."""
        words = ["stage", self.step.script, command]
        for config in self.configs:
            words += ["--config", str(config)]
        words += ["--step-dir", str(self.folder), "--recipe", self.recipe, "--fingerprint", fingerprint]
        for option, folder in self.inputs.items():
            words += [f"--{option}", str(folder)]
        return [*words, *self.options]


def plan_steps(
    conf: Path, recipe: Recipe, steps: Iterable[Step], settings: Settings, run_dir: Path, extras: Extras
) -> dict[str, StepPlan]:
    """Plans of the given steps, by name.

    Raises:
        UserError: a configuration, budget or step does not exist.
    """
    for name in extras.step_args:
        recipe.step(name)
    budgets = budget_names(recipe.folder, [s.config_name for s in recipe.steps])
    if settings.budget not in budgets:
        raise unknown_name(f"budget of {recipe.name}", str(settings.budget), budgets)
    data = named_config(conf, "data", settings.data or "")
    loggers = [named_config(conf, "logger", extras.logger)] if extras.logger else []
    return {s.name: _plan(recipe, s, settings, run_dir, extras, data, loggers) for s in steps}


def _plan(
    recipe: Recipe,
    step: Step,
    settings: Settings,
    run_dir: Path,
    extras: Extras,
    data: Path,
    loggers: list[Path],
) -> StepPlan:
    files = step_configs(recipe.folder, step.config_name, settings.budget or "full", "fit" in step.commands)
    shared, hashes = _shared_options(step, settings, dataset_config(data)["init_args"])
    own = [*step.args, *extras.step_args.get(step.name, ()), *extras.args]
    devices = ["--trainer.devices", str(extras.devices)] if extras.devices else []
    root = [f"--{_DATASET}.root", settings.data_root] if settings.data_root else []
    parts = {
        "script": step.script,
        "configs": [resolve_yaml(path) for path in (*files, data)],
        "options": [*shared, *own],
        "files": hashes,
    }
    return StepPlan(
        step=step,
        folder=run_dir / step.name,
        recipe=recipe.label,
        configs=(*files, data, *loggers),
        inputs={option: run_dir / source for option, source in step.inputs.items()},
        options=(*root, *_with_paths(shared, settings), *devices, *own),
        parts=parts,
    )


def _shared_options(
    step: Step, settings: Settings, dataset: Mapping[str, Any]
) -> tuple[list[str], dict[str, str]]:
    """Options from the run's settings, where files stand as their names, and hashes of these files."""
    options, hashes = [], _list_hashes(dataset, settings.data_root)
    if settings.tags:
        # a table of images calls its CSV of tags `csv`, every other data set `tags`
        options += [f"--{_DATASET}.{'csv' if 'csv' in dataset else 'tags'}", Path(settings.tags).name]
        hashes[Path(settings.tags).name] = _hash(Path(settings.tags))
    if step.script in NETWORK_SCRIPTS and settings.backbone:
        options += ["--model.init_args.backbone.name", settings.backbone]
    if step.script in NETWORK_SCRIPTS and settings.weights:
        options += ["--model.init_args.backbone.weights", Path(settings.weights).name]
        if settings.weights not in ("imagenet", "none"):
            hashes[Path(settings.weights).name] = _hash(Path(settings.weights))
    if settings.seed is not None:
        options += ["--seed_everything", str(settings.seed)]
    return options, hashes


def _with_paths(options: Sequence[str], settings: Settings) -> list[str]:
    paths = {Path(p).name: p for p in (settings.tags, settings.weights) if p}
    return [paths.get(word, word) for word in options]


def _list_hashes(dataset: Mapping[str, Any], root: str | None) -> dict[str, str]:
    """Hashes of the id lists and tables that a data configuration names: they are edited in place."""
    hashes: dict[str, str] = {}
    for name in _strings(dataset):
        if name.endswith(_LIST_FILES):
            for path in (Path(root or str(dataset.get("root") or ".")) / name, Path(name)):
                if path.is_file():
                    hashes[name] = _hash(path)
    return hashes


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(item)


def _hash(path: Path) -> str:
    stat = path.stat()
    return _hash_once(path, stat.st_size, stat.st_mtime_ns)


@cache
def _hash_once(path: Path, size: int, changed: int) -> str:
    return sha256_file(path)
