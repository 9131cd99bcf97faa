"""Recipes as data: the steps of a paper, what each reads, and its variants."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tag2mask.artifacts import SCORERS, kind_names
from tag2mask.core.errors import UserError, unknown_name
from tag2mask.pipeline.configs import load_yaml
from tag2mask.pipeline.rounds import FULL, unroll

SCRIPTS = ("classifier", "affinity", "pseudo_labels", "segmentation")
NETWORK_SCRIPTS = ("classifier", "affinity", "segmentation")
"""Scripts that build a backbone: only they get ``--backbone`` and ``--weights``."""

_COMMANDS = (["fit"], ["predict"], ["fit", "predict"])
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Step:
    """One step of a recipe: the commands of one script that fill one folder.

    Attributes:
        name: name of the step and of its folder.
        stage: 1, 2 or 3.
        script: one of `SCRIPTS`.
        commands: ``fit`` and/or ``predict``, in order.
        kind: what its folder holds, a registered kind.
        inputs: option (without dashes) that takes a folder -> the step that fills it.
        score: how it is scored, one of `SCORERS`, or None.
        args: options that a variant adds.
        config: name of its configuration files, where several steps share them; "" for the step's own.
    """

    name: str
    stage: int
    script: str
    commands: tuple[str, ...]
    kind: str
    inputs: dict[str, str] = field(default_factory=dict)
    score: str | None = None
    args: tuple[str, ...] = ()
    config: str = ""

    @property
    def config_name(self) -> str:
        """What its configuration files are called, without endings."""
        return self.config or self.name


@dataclass(frozen=True)
class Variant:
    """A change to a recipe's steps: which to leave out, what to read instead, options to add.

    `targets` are the paper's numbers for it, step -> mIoU; they take the place of the recipe's.
    """

    title: str = ""
    skip: tuple[str, ...] = ()
    inputs: dict[str, dict[str, str | None]] = field(default_factory=dict)
    args: dict[str, tuple[str, ...]] = field(default_factory=dict)
    targets: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A recipe, or one variant of it.

    Attributes:
        name: name of the recipe and of its folder.
        title: one line.
        folder: where its files are.
        steps: in order; every input is an earlier step.
        variants: all of them, by name.
        variant: the one that `steps` follow, "" for the recipe as such.
        paper: citation and targets, as in the file; the targets of the variant.
    """

    name: str
    title: str
    folder: Path
    steps: tuple[Step, ...]
    variants: dict[str, Variant] = field(default_factory=dict)
    variant: str = ""
    paper: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """``name`` or ``name:variant``: what the user types."""
        return f"{self.name}:{self.variant}" if self.variant else self.name

    def step(self, name: str) -> Step:
        """A step by name.

        Raises:
            UserError: there is none of that name.
        """
        for step in self.steps:
            if step.name == name:
                return step
        raise unknown_name(f"step of {self.label}", name, [s.name for s in self.steps])


def load_recipe(folder: Path, variant: str = "", rounds: int | None = None, budget: str = FULL) -> Recipe:
    """Read and check ``<folder>/recipe.yaml``.

    Args:
        folder: the recipe's folder, named as the recipe.
        variant: the variant to apply, "" for none.
        rounds: how often the steps of a round are repeated; None for as often as the recipe says.
        budget: for which budget; only the number of rounds depends on it.

    Raises:
        UserError: the file does not follow the form of a recipe, or has no such variant.
    """
    path = folder / "recipe.yaml"
    plain = unroll(path, load_yaml(path), rounds, budget)
    _check_keys(path, "the recipe", plain, {"name", "title", "steps"}, {"paper", "variants"})
    if plain["name"] != folder.name:
        raise UserError(
            f"{path}: name is {plain['name']!r}, but the folder is {folder.name!r}; make them equal"
        )
    steps = [_step(path, item) for item in _sequence(path, "steps", plain["steps"])]
    variants = {name: _variant(path, name, item) for name, item in _mapping(path, "variants", plain).items()}
    recipe = Recipe(
        plain["name"], str(plain["title"]), folder, tuple(steps), variants, "", _mapping(path, "paper", plain)
    )
    _check_order(path, recipe)
    # a broken variant is found when the recipe is read, not on the day that somebody asks for it
    applied = {name: _apply(path, recipe, name) for name in variants}
    if not variant:
        return recipe
    if variant not in applied:
        raise unknown_name(f"variant of {recipe.name}", variant, applied)
    return applied[variant]


def _step(path: Path, item: Any) -> Step:
    where = f"step {item.get('name', '?')!r}" if isinstance(item, dict) else "each step"
    needed = {"name", "stage", "script", "commands", "kind"}
    _check_keys(path, where, item, needed, {"inputs", "score", "config"})
    name, score = item["name"], item.get("score")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(f"{path}: step name {name!r} must be lower-case letters, digits and underscores")
    for what, value, known in (
        ("stage", item["stage"], (1, 2, 3)),
        ("script", item["script"], SCRIPTS),
        ("kind", item["kind"], kind_names()),
        ("score", score, (None, *SCORERS)),
        ("commands", item["commands"], _COMMANDS),
    ):
        if value not in known:
            raise UserError(
                f"{path}: {what} of {where} is {value!r}; use one of {', '.join(map(str, known))}"
            )
    inputs = {_flag(path, where, k): str(v) for k, v in _mapping(path, "inputs", item).items()}
    config = item.get("config", "")
    if not isinstance(config, str):
        raise UserError(f"{path}: config of {where} must name one file, without endings, got {config!r}")
    commands = tuple(item["commands"])
    return Step(name, item["stage"], item["script"], commands, item["kind"], inputs, score, (), config)


def _variant(path: Path, name: str, item: Any) -> Variant:
    where = f"variant {name!r}"
    _check_keys(path, where, item, set(), {"title", "skip", "inputs", "args", "targets"})
    inputs = {
        step: {
            _flag(path, where, flag): None if source is None else str(source)
            for flag, source in flags.items()
        }
        for step, flags in _mapping(path, "inputs", item).items()
    }
    args = {
        step: tuple(
            word for line in _sequence(path, f"args of {where}", lines) for word in _words(path, line)
        )
        for step, lines in _mapping(path, "args", item).items()
    }
    skip = tuple(_sequence(path, f"skip of {where}", item.get("skip", [])))
    return Variant(str(item.get("title", "")), skip, inputs, args, _mapping(path, "targets", item))


def _apply(path: Path, recipe: Recipe, name: str) -> Recipe:
    variant = recipe.variants[name]
    for step_name in (*variant.skip, *variant.inputs, *variant.args):
        recipe.step(step_name)
    steps = []
    for step in recipe.steps:
        if step.name in variant.skip:
            continue
        merged = {**step.inputs, **variant.inputs.get(step.name, {})}
        inputs = {flag: source for flag, source in merged.items() if source is not None}
        steps.append(replace(step, inputs=inputs, args=variant.args.get(step.name, ())))
    paper = {**recipe.paper, "targets": variant.targets}
    applied = replace(recipe, steps=tuple(steps), variant=name, paper=paper)
    _check_order(path, applied)
    return applied


def _check_order(path: Path, recipe: Recipe) -> None:
    if not recipe.steps:
        raise UserError(f"{path}: {recipe.label} has no steps")
    seen: list[str] = []
    for step in recipe.steps:
        if step.name in seen:
            raise UserError(f"{path}: two steps of {recipe.label} are called {step.name!r}; rename one")
        for flag, source in step.inputs.items():
            if source not in seen:
                raise UserError(
                    f"{path}: {flag} of step {step.name!r} in {recipe.label} reads {source!r}, "
                    f"which is no earlier step; earlier: {', '.join(seen) or 'none'}"
                )
        seen.append(step.name)
    stages = [step.stage for step in recipe.steps]
    if stages != sorted(stages):
        raise UserError(f"{path}: the stages of the steps go back ({stages}); order the steps by stage")


def _check_keys(path: Path, where: str, plain: Any, needed: set[str], optional: set[str]) -> None:
    if not isinstance(plain, dict):
        raise UserError(f"{path}: {where} must be a mapping of keys to values")
    for key in plain:
        if key not in needed | optional:
            raise unknown_name(f"key in {where} of {path}", str(key), needed | optional)
    if missing := sorted(needed - set(plain)):
        raise UserError(f"{path}: {where} lacks {', '.join(missing)}")


def _mapping(path: Path, key: str, plain: Mapping[str, Any]) -> dict[str, Any]:
    value = plain.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{path}: {key} must be a mapping of keys to values, got {value!r}")
    return value


def _sequence(path: Path, what: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise UserError(f"{path}: {what} must be a list, got {value!r}")
    return value


def _flag(path: Path, where: str, flag: Any) -> str:
    if not isinstance(flag, str) or flag.startswith("-"):
        raise UserError(f"{path}: inputs of {where} name options without dashes, got {flag!r}")
    return flag


def _words(path: Path, line: Any) -> list[str]:
    if not isinstance(line, str):
        raise UserError(f"{path}: args are strings such as '--option value', got {line!r}")
    return shlex.split(line)
