"""Variants of a recipe: the ablations of a paper, each as a change of the recipe's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tag2mask.core.errors import UserError, unknown_name
from tag2mask.core.pages import Page
from tag2mask.pipeline.form import (
    VARIANT_KEYS,
    VARIANT_STEP_KEYS,
    Change,
    check_keys,
    inputs_of,
    is_new_step,
    mapping,
    sections_of,
    sequence,
)
from tag2mask.pipeline.rounds import MARK, fill
from tag2mask.pipeline.steps import Recipe, Step


def names_of(variant: str, recipe: Recipe) -> list[str]:
    """The variants that ``one+other`` names, in their order.

    Raises:
        UserError: the recipe lacks one, or it is named twice.
    """
    names = variant.split("+")
    for name in names:
        if name not in recipe.variants:
            raise unknown_name(f"variant of {recipe.name}", name, recipe.variants)
        if names.count(name) > 1:
            raise UserError(f"{recipe.name}:{variant} names the variant {name} twice")
    return names


def variant_facts(page: Page, name: Any) -> dict[str, Any]:
    """Title and targets of a variant.

    Raises:
        UserError: the page gives it a key that variants do not have.
    """
    where = f"variants.{name}"
    plain = mapping(page, where, page.plain["variants"][name])
    check_keys(page, where, plain, VARIANT_KEYS)
    return {"title": str(plain.get("title", "")), "targets": mapping(page, where, plain.get("targets"))}


def apply_variants(page: Page, recipe: Recipe, steps: Sequence[Step], names: Sequence[str]) -> Recipe:
    """A recipe changed by a variant, or by several of them, one after the other.

    Args:
        page: the recipe's page.
        recipe: the recipe as such.
        steps: its steps and those that the variants add.
        names: the variants. The paper's numbers are those of a single one: it has none for several.

    Raises:
        UserError: a variant changes or skips a step that is not there, or two add the same one.
    """
    own, added = {step.template for step in recipe.steps}, set[str]()
    varied = replace(recipe, steps=tuple(steps))
    for name in names:
        plain = mapping(page, f"variants.{name}.steps", page.plain["variants"][name].get("steps"))
        new = {key for key, change in plain.items() if key not in own and is_new_step(change)}
        if twice := new & added:
            raise UserError(f"the variants {' and '.join(names)} of {recipe.name} both add {min(twice)}")
        added |= new
        changes = {key: change for key, change in plain.items() if key not in new}
        varied = replace(varied, steps=_changed_steps(page, varied, name, changes))
    targets = recipe.variants[names[0]]["targets"] if len(names) == 1 else {}
    paper = {**recipe.paper, "targets": targets, "val": {}}
    return replace(varied, variant="+".join(names), paper=paper)


def _changed_steps(page: Page, recipe: Recipe, name: str, changes: Mapping[str, Any]) -> tuple[Step, ...]:
    where, plain = f"variants.{name}", page.plain["variants"][name]
    skipped = [
        s for key in sequence(page, where, plain.get("skip", [])) for s in _named(page, where, recipe, key)
    ]
    steps = {step.name: step for step in recipe.steps if step not in skipped}
    for key, change in changes.items():
        prefix = f"{where}.steps.{key}"
        own = mapping(page, prefix, change)
        check_keys(page, prefix, own, VARIANT_STEP_KEYS)
        found = _named(page, prefix, recipe, key)
        if own and any(step in skipped for step in found):
            raise UserError(f"{page.where(prefix)}: {recipe.name}:{name} changes {key}, which it skips")
        # a step may be named for the sake of its place alone
        changed = {step.name: _changed(step, Change(page, prefix, own)) for step in found} if own else {}
        steps |= changed
    return tuple(steps.values())


def _changed(step: Step, change: Change) -> Step:
    inputs = {**step.inputs, **{k: v for k, v in inputs_of(change).items() if k not in step.fixed}}
    own = [s._replace(when="variant") if s.when == "page" else s for s in sections_of(change)]
    return replace(
        step,
        inputs={k: fill(v, step.turn) for k, v in inputs.items() if v is not None},
        sections=(*step.sections, *own),
    )


def _named(page: Page, where: str, recipe: Recipe, key: Any) -> list[Step]:
    """The steps that a name in a variant stands for: one, or one in each round."""
    found = [step for step in recipe.steps if key in (step.template if MARK in str(key) else step.name,)]
    if not found:
        names = {step.name for step in recipe.steps} | {s.template for s in recipe.steps if s.turn.number}
        raise UserError(f"{page.where(where)}: {unknown_name(f'step of {recipe.name}', str(key), names)}")
    return found
