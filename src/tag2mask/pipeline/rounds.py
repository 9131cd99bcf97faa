"""Recipes that repeat some of their steps: one description of a round becomes the steps of every round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tag2mask.core.errors import UserError, unknown_name

_MARK = "{round}"
FULL = "full"
"""The budget that every recipe has: the paper's own schedule."""


@dataclass(frozen=True)
class _Instance:
    """What a described step has become in one round.

    Attributes:
        round: number of the round, from 1.
        step: the plain step.
        fixed: inputs that its ``first`` or ``last`` settles, whatever a variant says.
    """

    round: int
    step: dict[str, Any]
    fixed: frozenset[str]


def unroll(
    path: Path, plain: Mapping[str, Any], rounds: int | None = None, budget: str = FULL
) -> dict[str, Any]:
    """A plain recipe without blocks of rounds.

    A block stands among the steps: ``{rounds: 5, steps: [...]}``, or ``{rounds: {full: 5, small: 1},
    ...}`` where budgets differ. In the names and inputs of its steps, ``{round}`` is the number of the
    round and ``{before}`` the one before it; a list as ``config`` names one configuration per round, the
    last of them for all later rounds too. What a step has under ``first`` and ``last`` replaces its own
    keys (and single inputs, which null takes away) in these rounds. In the inputs of the other steps,
    ``{last}`` is the number of the last round. Variants change a step of every round under the name that
    the block gives it.

    Args:
        path: the recipe's file, for messages.
        plain: content of the file.
        rounds: how many rounds; None for as many as the block says.
        budget: the budget of the run; one that the block does not name has as many rounds as full.

    Returns:
        the recipe with one plain step for each round; the argument itself where there is no block.

    Raises:
        UserError: the block does not follow this form, or `rounds` is given for a recipe without one.
    """
    steps = plain.get("steps")
    blocks = [item for item in steps if _is_block(item)] if isinstance(steps, list) else []
    if not blocks:
        if rounds is not None:
            raise UserError(f"recipe {plain.get('name')} repeats no steps: leave --rounds out")
        return dict(plain)
    if len(blocks) > 1:
        raise UserError(f"{path}: only one block of rounds is possible, there are {len(blocks)}")
    count = _count(path, blocks[0]["rounds"], budget) if rounds is None else rounds
    templates = _templates(path, blocks[0], count)
    made = {template["name"]: _instances(path, template, count) for template in templates}
    flat: list[Any] = []
    for item in plain["steps"]:
        flat += _in_order(made, count) if _is_block(item) else [_numbered(item, 0, count)]
    variants = plain.get("variants")
    if isinstance(variants, dict):
        variants = {name: _variant(path, item, made, count) for name, item in variants.items()}
    return {**plain, "steps": flat, **({"variants": variants} if variants else {})}


def _count(path: Path, given: Any, budget: str) -> Any:
    if not isinstance(given, dict):
        return given
    if FULL not in given:
        raise UserError(f"{path}: rounds that differ by budget must name {FULL}, got {given}")
    for value in given.values():
        _require_count(path, value)
    return given.get(budget, given[FULL])


def _require_count(path: Path, count: Any) -> None:
    if not isinstance(count, int) or count < 1:
        raise UserError(f"{path}: rounds must be a whole number from 1 on, got {count!r}")


def _in_order(made: Mapping[str, list[_Instance]], count: int) -> list[dict[str, Any]]:
    return [instances[r].step for r in range(count) for instances in made.values()]


def _is_block(item: Any) -> bool:
    return isinstance(item, dict) and "rounds" in item


def _templates(path: Path, block: Mapping[str, Any], count: Any) -> Sequence[dict[str, Any]]:
    _require_count(path, count)
    steps = block.get("steps")
    if set(block) != {"rounds", "steps"} or not isinstance(steps, list) or not steps:
        raise UserError(f"{path}: a block of rounds has the keys rounds and steps, and at least one step")
    for step in steps:
        if not isinstance(step, dict) or _MARK not in str(step.get("name")):
            raise UserError(f"{path}: the name of each step in a block of rounds must hold {_MARK}")
        if step.get("config") == []:
            raise UserError(f"{path}: config of {step['name']!r} is an empty list; name one file per round")
    return steps


def _instances(path: Path, template: Mapping[str, Any], count: int) -> list[_Instance]:
    own = {key: value for key, value in template.items() if key not in ("first", "last")}
    instances = []
    for number in range(1, count + 1):
        changes = [template.get("first")] * (number == 1) + [template.get("last")] * (number == count)
        step, fixed = dict(own), set[str]()
        for change in changes:
            if change is None:
                continue
            if not isinstance(change, dict):
                raise UserError(f"{path}: first and last of {template['name']!r} must be mappings of keys")
            inputs = {**(step.get("inputs") or {}), **(change.get("inputs") or {})}
            kept = {flag: source for flag, source in inputs.items() if source is not None}
            step = {**step, **change, **({"inputs": kept} if inputs else {})}
            fixed |= set(change.get("inputs") or {})
        instances.append(_Instance(number, _numbered(step, number, count), frozenset(fixed)))
    return instances


def _numbered(step: Any, number: int, count: int) -> Any:
    """A step with its numbers filled in; 0 is the number of a step outside the rounds."""
    if not isinstance(step, dict):
        return step
    numbered = {**step, "name": _fill(step.get("name"), number, count)} if number else dict(step)
    if number and isinstance(step.get("config"), list):
        numbered["config"] = step["config"][min(number, len(step["config"])) - 1]
    if isinstance(step.get("inputs"), dict):
        numbered["inputs"] = {flag: _fill(source, number, count) for flag, source in step["inputs"].items()}
    return numbered


def _fill(text: Any, number: int, count: int) -> Any:
    if not isinstance(text, str):
        return text
    if number:
        text = text.replace(_MARK, str(number)).replace("{before}", str(number - 1))
    return text.replace("{last}", str(count))


def _variant(path: Path, item: Any, made: Mapping[str, list[_Instance]], count: int) -> Any:
    if not isinstance(item, dict):
        return item
    changed = dict(item)
    if isinstance(item.get("skip"), list):
        changed["skip"] = [i.step["name"] for key in item["skip"] for i in _named(path, key, made)]
    if isinstance(item.get("args"), dict):
        changed["args"] = {
            i.step["name"]: lines for key, lines in item["args"].items() for i in _named(path, key, made)
        }
    if isinstance(item.get("inputs"), dict):
        changed["inputs"] = {
            i.step["name"]: _free_inputs(sources, i, count)
            for key, sources in item["inputs"].items()
            for i in _named(path, key, made)
        }
    return changed


def _named(path: Path, key: Any, made: Mapping[str, list[_Instance]]) -> list[_Instance]:
    """The steps that a name in a variant stands for: one, or one in each round."""
    if _MARK not in str(key):
        return [_Instance(0, {"name": key}, frozenset())]
    if key not in made:
        raise unknown_name(f"step of the rounds of {path}", str(key), made)
    return made[key]


def _free_inputs(sources: Any, instance: _Instance, count: int) -> Any:
    if not isinstance(sources, dict):
        return sources
    return {f: _fill(s, instance.round, count) for f, s in sources.items() if f not in instance.fixed}
