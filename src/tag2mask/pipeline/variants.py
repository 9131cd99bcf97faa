"""Variants of a recipe: the ablations of a paper, each as a change of the recipe's page."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tag2mask.core.errors import UserError, unknown_name
from tag2mask.pipeline.form import PARTS, Change, check_keys, inputs_of, mapping, sections_of, sequence
from tag2mask.pipeline.rounds import MARK, fill
from tag2mask.pipeline.steps import Recipe, Step
from tag2mask.pipeline.variant_parts import is_new_step, steps_of

_STEP_KEYS = ("inputs", *PARTS, "backbones", "budgets")


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


def apply_variants(recipe: Recipe, steps: Sequence[Step], parts: Mapping[str, Sequence[Change]]) -> Recipe:
    """A recipe changed by a variant, or by several of them, one after the other.

    Args:
        recipe: the recipe as such.
        steps: its steps and those that the variants add.
        parts: what the pages say of each variant (`variant_parts`), in the order of the variants. The paper's
            numbers are those of a single one: it has none for several.

    Raises:
        UserError: a variant changes or skips a step that is not there, or two add the same one.
    """
    own, names, added = {step.template for step in recipe.steps}, list(parts), set[str]()
    varied = replace(recipe, steps=tuple(steps))
    for name in names:
        new = {key for part in parts[name] for key, plain in steps_of(part).items() if is_new_step(plain)}
        if twice := (new - own) & added:
            raise UserError(f"the variants {' and '.join(names)} of {recipe.name} both add {min(twice)}")
        added |= new - own
        varied = replace(varied, steps=_changed_steps(varied, name, parts[name], new - own))
    targets = recipe.variants[names[0]]["targets"] if len(names) == 1 else {}
    paper = {**recipe.paper, "targets": targets, "val": {}}
    return replace(varied, variant="+".join(names), paper=paper)


def _changed_steps(
    recipe: Recipe, name: str, parts: Sequence[Change], new: Collection[str]
) -> tuple[Step, ...]:
    skipped = _skipped(recipe, parts)
    steps = {step.name: step for step in recipe.steps if step not in skipped}
    for part in parts:
        for key, plain in steps_of(part).items():
            if key in new and is_new_step(plain):
                continue
            change = _step_change(part, key, plain)
            found = _named(change, recipe, key)
            # a new step may have the name of one that is skipped
            if change.plain and any(step.name not in steps for step in found):
                where = change.page.where(change.prefix)
                raise UserError(f"{where}: {recipe.name}:{name} changes {key}, which it skips")
            # a step may be named for the sake of its place alone
            names = {step.name for step in found} if change.plain else set()
            steps |= {each: _changed(steps[each], change) for each in names}
    return tuple(steps.values())


def _step_change(part: Change, key: str, plain: Any) -> Change:
    prefix = f"{part.prefix}.steps.{key}"
    change = Change(part.page, prefix, mapping(part.page, prefix, plain))
    check_keys(part.page, prefix, change.plain, _STEP_KEYS)
    return change


def _skipped(recipe: Recipe, parts: Sequence[Change]) -> list[Step]:
    """The steps that a variant leaves out: what the last part says that says it."""
    part = next((part for part in reversed(parts) if "skip" in part.plain), None)
    if part is None:
        return []
    names = sequence(part.page, part.prefix, part.plain["skip"])
    return [step for name in names for step in _named(part, recipe, name)]


def _changed(step: Step, change: Change) -> Step:
    inputs = {**step.inputs, **{k: v for k, v in inputs_of(change).items() if k not in step.fixed}}
    own = [s._replace(when="variant") if s.when == "page" else s for s in sections_of(change)]
    return replace(
        step,
        inputs={k: fill(v, step.turn) for k, v in inputs.items() if v is not None},
        sections=(*step.sections, *own),
    )


def _named(change: Change, recipe: Recipe, key: Any) -> list[Step]:
    """The steps that a name in a variant stands for: one, or one in each round."""
    found = [step for step in recipe.steps if key in (step.template if MARK in str(key) else step.name,)]
    if not found:
        names = {step.name for step in recipe.steps} | {s.template for s in recipe.steps if s.turn.number}
        where = change.page.where(change.prefix)
        raise UserError(f"{where}: {unknown_name(f'step of {recipe.name}', str(key), names)}")
    return found
