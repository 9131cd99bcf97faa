"""The command ``tag2mask recipes``: the recipes, and their settings."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any

from tag2mask.core.commands import add_command, add_data, add_recipe
from tag2mask.core.errors import UserError
from tag2mask.core.layers import Layer, Setting, nest
from tag2mask.core.library import FULL, Library, data_settings, open_library
from tag2mask.core.pages import setting_text
from tag2mask.core.recipe_names import split_label
from tag2mask.pipeline.arguments import check_settings
from tag2mask.pipeline.plan import yaml_text
from tag2mask.pipeline.recipe import load_recipe
from tag2mask.pipeline.resolve import (
    Choice,
    budgets_of,
    check_sections,
    refused_budgets,
    require_budget,
    resolve,
)
from tag2mask.pipeline.steps import Recipe, Step

_ROUND = re.compile(r"_\d+$")

_EXAMPLES = """examples:
  tag2mask recipes
  tag2mask recipes show psa --step cam
  tag2mask recipes show sc_cam:k5 --budget small --backbone tf_efficientnet_lite0 --diff psa
  tag2mask recipes show psa --step cam --data voc --yaml > cam.yaml"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``recipes`` to the command line."""
    recipes = add_command(
        subparsers,
        "recipes",
        "list the recipes, or show what one is set to",
        "List the recipes: their steps, variants, budgets, and the papers' own numbers.",
        _EXAMPLES,
    )
    recipes.set_defaults(handler=_list)
    show = recipes.add_subparsers(metavar="show").add_parser(
        "show", help="print the resolved settings of each step, with the file and line of each"
    )
    add_recipe(show)
    add_data(show)
    show.add_argument("--step", metavar="STEP", help="this step only")
    show.add_argument("--diff", metavar="RECIPE[:VARIANT]", help="print only what differs from this recipe")
    show.add_argument("--yaml", action="store_true", help="print one step's settings as a file for --config")
    show.set_defaults(handler=_show, budget=FULL, backbone="")


def _list(args: argparse.Namespace) -> int:
    library = open_library()
    for name in library.names("recipes"):
        recipe = load_recipe(library, name)
        check_sections(library, recipe)
        print(describe(library, recipe) + "\n")
    return 0


def describe(library: Library, recipe: Recipe) -> str:
    """A recipe in a few lines: steps, variants, budgets, paper."""
    targets = recipe.paper.get("targets") or {}
    lines = [f"{recipe.name}: {recipe.title}"]
    for step in recipe.steps:
        reads = f"  reads {', '.join(step.inputs.values())}" if step.inputs else ""
        paper = f"  paper: {targets[step.name]} mIoU" if step.name in targets else ""
        lines.append(f"  stage {step.stage}  {step.name:<16} {' + '.join(step.commands):<14}{reads}{paper}")
    lines += _variant_lines(recipe)
    refused = refused_budgets(library, recipe)
    lines.append(f"  budgets: {', '.join(b for b in budgets_of(library, recipe) if b not in refused)}")
    lines += [f"  budget {budget} is refused: {why}" for budget, why in refused.items()]
    if citation := recipe.paper.get("citation"):
        lines.append(f"  {' '.join(str(citation).split())}")
    return "\n".join(lines)


def _variant_lines(recipe: Recipe) -> list[str]:
    width = max((len(name) for name in recipe.variants), default=0)
    lines = []
    for name, facts in recipe.variants.items():
        numbers = ", ".join(f"{step} {miou}" for step, miou in facts["targets"].items())
        paper = f"  paper: {numbers} mIoU" if numbers else ""
        lines.append(f"  {recipe.name}:{name:<{width}}  {facts['title']}{paper}")
    return lines


def _show(args: argparse.Namespace) -> int:
    library = open_library()
    recipe, steps = _resolved(library, args.recipe, args)
    if args.diff:
        other, others = _resolved(library, args.diff, args)
        ours, theirs = _with_inputs(recipe, steps), _with_inputs(other, others)
        print("\n".join(differences(recipe.label, ours, other.label, theirs)))
        return 0
    if args.yaml:
        if len(steps) != 1:
            raise UserError("--yaml prints the settings of one step: name it with --step")
        print(yaml_text(nest(*steps.values())), end="")
        return 0
    for name, settings in steps.items():
        print("\n".join([_heading(recipe.step(name)), *_lines(settings), ""]))
    return 0


def _resolved(library: Library, label: str, args: argparse.Namespace) -> tuple[Recipe, dict[str, Layer]]:
    name, variant = split_label(label)
    recipe = load_recipe(library, name, variant, args.rounds, args.budget)
    check_sections(library, recipe)
    require_budget(library, recipe, args.budget)
    data = data_settings(library, args.data) if args.data else {}
    choice = Choice(args.budget, args.backbone, data)
    steps = {step.name: resolve(library, step, choice) for step in recipe.steps}
    for step in recipe.steps:
        check_settings(steps[step.name], step.inputs)
    if args.step is None:
        return recipe, steps
    if label == args.recipe:
        recipe.step(args.step)  # a step that does not exist is refused
    wanted = args.step if args.step in steps else _ROUND.sub("", args.step)
    return recipe, {name: settings for name, settings in steps.items() if name == wanted}


def _heading(step: Step) -> str:
    each = ", ".join(f"{source} ({option})" for option, source in step.inputs.items())
    reads = f", reads {each}" if each else ""
    commands = " + ".join(step.commands)
    return f"{step.name}: stage {step.stage}, {step.script} {commands}, makes {step.kind}{reads}"


def _lines(settings: Layer) -> list[str]:
    values = {path: setting_text(setting.value) for path, setting in settings.items()}
    left = max(len(path) for path in values)
    right = max((len(value) for value in values.values() if len(value) <= 40), default=0)
    return [
        f"  {path:<{left}}  {values[path]:<{right}}  {settings[path].origin}"
        for path in sorted(values, key=lambda p: p.split("."))
    ]


def _with_inputs(recipe: Recipe, steps: Mapping[str, Layer]) -> dict[str, Layer]:
    """The settings of each step, and for each input the step that it reads."""
    return {
        name: settings | {path: Setting(read, "input") for path, read in recipe.step(name).inputs.items()}
        for name, settings in steps.items()
    }


def differences(name: str, ours: Mapping[str, Layer], other: str, theirs: Mapping[str, Layer]) -> list[str]:
    """What differs between the steps of two recipes, in lines of text.

    A step of a round (``cam_2``) that the second recipe lacks is compared with its step of that name
    without the round (``cam``).

    Args:
        name: the first recipe.
        ours: its steps, resolved.
        other: the second recipe.
        theirs: its steps.
    """
    lines, compared = [], set()
    for step in dict.fromkeys([*ours, *theirs]):
        if step not in ours and step in compared:
            continue
        twin = step if step in theirs else _ROUND.sub("", step)
        if step not in ours or twin not in theirs:
            lines.append(f"{step}: only in {name if step in ours else other}")
            continue
        compared.add(twin)
        mine, its = ours[step], theirs[twin]
        paths = [p for p in sorted({*mine, *its}) if _value(mine, p) != _value(its, p)]
        beside = step if twin == step else f"{step} beside {twin} of {other}"
        lines.append(f"{beside}:" if paths else f"{beside}: the same")
        lines += [f"  {p}: {_told(mine, p)} | {other}: {_told(its, p)}" for p in paths]
    return lines


def _value(settings: Layer, path: str) -> Any:
    return settings[path].value if path in settings else "not set"


def _told(settings: Layer, path: str) -> str:
    return (
        f"{setting_text(settings[path].value)} ({settings[path].origin})" if path in settings else "not set"
    )
