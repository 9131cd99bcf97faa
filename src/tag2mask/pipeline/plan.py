"""What the commands of each step are started with, and a fingerprint of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from tag2mask.artifacts import (
    ORIGINS_NAME,
    SETTINGS_NAME,
    atomic_write_json,
    atomic_write_text,
    content_hash,
    sha256_json,
)
from tag2mask.core.layers import Layer, Setting, nest, overlay, value_at
from tag2mask.core.library import Library, data_settings
from tag2mask.core.weight_files import NO_FILE
from tag2mask.pipeline.arguments import check_registered, check_settings, settings_in
from tag2mask.pipeline.devices import Devices, deciding, deciding_words
from tag2mask.pipeline.extras import Extras, asked_of, overrides_of
from tag2mask.pipeline.form import PARTS, check_keys
from tag2mask.pipeline.given import check_folders, folder_hashes, given_inputs, without
from tag2mask.pipeline.options import config_pages
from tag2mask.pipeline.resolve import Choice, require_budget, resolve
from tag2mask.pipeline.settings import Settings
from tag2mask.pipeline.steps import Recipe, Step

_DATASET = "data.init_args.dataset.init_args"
_WEIGHTS = "model.init_args.backbone.weights"
_LIST_FILES = (".csv", ".txt", ".npy", ".json")


@dataclass(frozen=True)
class StepPlan:
    """How to start a step's commands.

    Attributes:
        step: the step; of its inputs, those that the user does not set.
        folder: the step's folder in the run.
        recipe: the value of ``--recipe``.
        settings: the resolved settings, nested; they go into a file in the folder.
        inputs: option -> folder of an earlier step, or that the user gives.
        options: the remaining options.
        devices: devices of each command.
        parts: what decides on the result, as plain values: the source of the fingerprint.
        origins: path of each setting -> file and line, or option, that it comes from.
    """

    step: Step
    folder: Path
    recipe: str
    settings: dict[str, Any]
    inputs: dict[str, Path]
    options: tuple[str, ...]
    devices: Devices
    parts: dict[str, Any]
    origins: dict[str, str] = field(default_factory=dict)

    def fingerprinted(self, command: str, parents: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
        """Fingerprint of a command and the parts it is made of.

        Args:
            command: ``fit`` or ``predict``.
            parents: hash of the manifest of each input step.
        """
        parts = {**self.parts, "command": command, "parents": dict(sorted(parents.items()))}
        # JSON has no infinite numbers, and the parts are noted in a file of it
        return sha256_json(parts), json.loads(json.dumps(parts, default=str), parse_constant=str)

    def words(self, command: str, fingerprint: str) -> list[str]:
        """The command line behind ``python -m tag2mask``."""
        words = ["step", self.step.script, command, "--config", str(self.folder / SETTINGS_NAME)]
        words += ["--step-dir", str(self.folder), "--recipe", self.recipe, "--fingerprint", fingerprint]
        for option, folder in self.inputs.items():
            words += [f"--{option}", str(folder)]
        return [*words, *self.options]

    def write_settings(self) -> None:
        """Write the settings, and where each comes from, into the step's folder."""
        atomic_write_json(self.folder / ORIGINS_NAME, self.origins)
        atomic_write_text(self.folder / SETTINGS_NAME, yaml_text(self.settings))


def yaml_text(settings: Mapping[str, Any]) -> str:
    """Nested settings as YAML, in their order."""
    return yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True, width=110)


def plan_steps(
    library: Library, recipe: Recipe, steps: Iterable[Step], settings: Settings, run_dir: Path, extras: Extras
) -> dict[str, StepPlan]:
    """Plans of the given steps, by name.

    Raises:
        UserError: a configuration, budget or step does not exist.
    """
    require_budget(library, recipe, str(settings.budget))
    data = data_settings(library, settings.data or "")
    choice = Choice(settings.budget or "", settings.backbone or "", data)
    options = ["--config", str(library.find("logger", extras.logger))] if extras.logger else []
    resolved = {step.name: resolve(library, step, choice) for step in recipe.steps}
    _check_files(options, extras)
    _check(recipe, steps, resolved, extras)
    plans = [_plan(resolved[step.name], recipe, step, settings, run_dir, extras) for step in steps]
    return {plan.step.name: replace(plan, options=(*options, *plan.options)) for plan in plans}


def _check_files(logger: Sequence[str], extras: Extras) -> None:
    """Refuse what the steps would refuse later in the files of ``--logger`` and ``-- --config``."""
    for page in config_pages(logger):
        check_keys(page, "", page.plain, PARTS)
    for page in config_pages([*logger, *extras.args]):
        # each by itself: where a file names another class, settings of the one before do not count
        check_settings(page.settings(page.plain, ""))


def _check(recipe: Recipe, steps: Iterable[Step], resolved: Mapping[str, Layer], extras: Extras) -> None:
    """Refuse what the classes of the steps, or the loading of their checkpoints, would refuse later."""
    asked = {step.name: overlay(resolved[step.name], overrides_of(step, extras)) for step in recipe.steps}
    for whole in steps:
        every = asked_of(whole, extras)
        given = given_inputs(whole, every)
        check_folders(recipe, whole, given, every)
        step = without(whole, given)
        check_settings(overlay(asked[step.name], settings_in(extras.args)), step.inputs)
        networks = {k: source for k, source in step.inputs.items() if recipe.step(source).trains}
        check_registered(step.name, asked[step.name], {k: (s, asked[s]) for k, s in networks.items()})


def _plan(
    resolved: Layer, recipe: Recipe, step: Step, settings: Settings, run_dir: Path, extras: Extras
) -> StepPlan:
    dataset = _dataset_of(resolved)
    own, hashes = _run_settings(step, settings, dataset)
    asked, given = overrides_of(step, extras), given_inputs(step, asked_of(step, extras))
    step, read = without(step, given), {option: folder for option, folder in given.items() if folder}
    unread = {path: setting for path, setting in asked.items() if path not in read}
    devices = extras.devices.replaced(asked)
    root = {f"{_DATASET}.root": Setting(settings.data_root, "--data-root")} if settings.data_root else {}
    parts = {
        "script": step.script,
        "settings": nest(overlay(resolved, _named(own, settings), deciding(unread))),
        "options": deciding_words(extras.args),
        "files": hashes
        | _list_hashes(dataset, settings.data_root)
        | folder_hashes(given)
        | {str(page.path): content_hash(page.path) for page in config_pages(extras.args)},
    }
    whole = overlay(resolved, root, own, asked)
    flags = [f"--{flag}" for flag in extras.flags]
    return StepPlan(
        step=step,
        folder=run_dir / step.name,
        recipe=recipe.label,
        settings=nest(whole),
        inputs={option: run_dir / source for option, source in step.inputs.items()} | read,
        options=(*devices.words(), *(flags if step.trains else ()), *extras.args),
        devices=devices,
        parts=parts,
        origins={path: setting.origin for path, setting in whole.items()},
    )


def _dataset_of(resolved: Layer) -> dict[str, Any]:
    own = {k: v for k, v in resolved.items() if k.startswith(f"{_DATASET}.")}
    plain: dict[str, Any] = value_at(nest(own), _DATASET, {})
    return plain


def _named(own: Layer, settings: Settings) -> Layer:
    """Settings with files by their names alone: a step's identity tells them by their content."""
    paths = _paths(settings)
    return {k: Setting(Path(v.value).name, v.origin) if k in paths else v for k, v in own.items()}


def _run_settings(step: Step, settings: Settings, dataset: Mapping[str, Any]) -> tuple[Layer, dict[str, str]]:
    """The settings of a step that the whole run sets, and hashes of the files that they name."""
    found, hashes = Layer(), dict[str, str]()
    if settings.tags:
        # a table of images calls its CSV of tags `csv`, every other data set `tags`
        key = "csv" if "csv" in dataset else "tags"
        found[f"{_DATASET}.{key}"] = Setting(settings.tags, "--tags")
        hashes[Path(settings.tags).name] = content_hash(settings.tags)
    if step.has_network and settings.weights:
        found[_WEIGHTS] = Setting(settings.weights, "--weights")
        if settings.weights not in NO_FILE:
            hashes[Path(settings.weights).name] = content_hash(settings.weights)
    if settings.seed is not None:
        found["seed_everything"] = Setting(settings.seed, "--seed")
    return found, hashes


def _paths(settings: Settings) -> tuple[str, ...]:
    tags = (f"{_DATASET}.csv", f"{_DATASET}.tags") if settings.tags else ()
    return (*tags, *((_WEIGHTS,) if settings.weights else ()))


def _list_hashes(dataset: Mapping[str, Any], root: str | None) -> dict[str, str]:
    """Hashes of the id lists and tables that a data configuration names: they are edited in place."""
    hashes: dict[str, str] = {}
    for name in _strings(dataset):
        if name.endswith(_LIST_FILES):
            for path in (Path(root or str(dataset.get("root") or ".")) / name, Path(name)):
                if path.is_file():
                    hashes[name] = content_hash(path)
    return hashes


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(item)
