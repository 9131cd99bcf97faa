"""Earlier steps that a run of some steps reads as they are, although they would be made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tag2mask.artifacts import ORIGINS_NAME, manifest_hash, read_manifest
from tag2mask.core.errors import UserError
from tag2mask.core.layers import Setting, flatten, nest
from tag2mask.core.library import open_library
from tag2mask.pipeline.differences import explain
from tag2mask.pipeline.extras import Extras
from tag2mask.pipeline.notes import known_json, read_inputs
from tag2mask.pipeline.plan import StepPlan, plan_steps
from tag2mask.pipeline.prepared import Prepared
from tag2mask.pipeline.state import changed_data, is_complete
from tag2mask.pipeline.steps import Recipe, Step

_PAGES = ("steps", "backbones", "recipes", "budgets", "data")
"""Folders of configurations that hold for a whole run."""
_OF_THE_RUN = ("--weights", "--seed", "--tags", "--data-root")


def stale_lines(prepared: Prepared) -> list[str]:
    """A line for each step before the chosen ones that is read as it is, but would be made again.

    Args:
        prepared: the run. What an earlier call has given to single steps, or behind ``--``, is not compared:
            the run folder does not remember it.
    """
    steps = list(_earlier(prepared.recipe, [plan.step for plan in prepared.plans.values()]))
    if not steps:
        return []
    run_dir = prepared.request.run_dir.resolve()
    try:
        plans = plan_steps(open_library(), prepared.recipe, steps, prepared.settings, run_dir, Extras())
    except UserError:  # a mistake in the settings of steps that are not to be made
        return []
    found = {name: _reasons(plan) for name, plan in plans.items() if is_complete(plan.folder, plan.step)}
    return [
        f"{name} stays as it is, although it would be made again: {'; '.join(reasons)}; to make it and what "
        f"reads it again, leave out --stage, --from and --step"
        for name, reasons in found.items()
        if reasons
    ]


def _earlier(recipe: Recipe, chosen: list[Step]) -> Iterator[Step]:
    """The steps that the chosen ones read, directly or not, and that are not chosen; in order."""
    names = {step.name for step in chosen}
    wanted = {source for step in chosen for source in step.inputs.values()} - names
    for step in reversed(recipe.steps):
        if step.name in wanted:
            wanted |= set(step.inputs.values()) - names
    yield from (step for step in recipe.steps if step.name in wanted)


def _reasons(plan: StepPlan) -> list[str]:
    """Why a finished step would be made again."""
    parents, manifest, reasons = _parents(plan), read_manifest(plan.folder), list[str]()
    for command, note in read_inputs(plan.folder).items():
        made = manifest.commands.get(command) if manifest else None
        if made is not None and made.fingerprint == note["fingerprint"]:
            old, new = note["parts"], plan.fingerprinted(command, parents)[1]
            reasons += explain(_compared(old, new, plan), _compared(new, old, plan))
    return list(dict.fromkeys([*reasons, *changed_data(plan)]))


def _compared(parts: Mapping[str, Any], others: Mapping[str, Any], plan: StepPlan) -> dict[str, Any]:
    """What decides on a result, without what one of two calls may have given to this step alone."""
    origins = known_json(plan.folder / ORIGINS_NAME)
    pages = {origin.partition(":")[0] for origin in plan.origins.values()}
    kept = {
        path: Setting(value, "")
        for path, value in flatten(parts.get("settings", {}))
        if _holds(str(origins.get(path, "--seed")), pages)
    }
    both = {
        name: {key: value for key, value in parts.get(name, {}).items() if key in others.get(name, {})}
        for name in ("parents", "files")
    }
    return {"script": parts.get("script"), "settings": nest(kept), "options": [], **both}


def _holds(origin: str, pages: set[str]) -> bool:
    """Whether what has set a value holds for the whole run, and not for one call."""
    if origin.startswith("--"):
        return origin in _OF_THE_RUN
    return origin.partition(":")[0] in pages or origin.partition("/")[0] in _PAGES


def _parents(plan: StepPlan) -> dict[str, str]:
    """Hashes of the inputs that are still there; a step that is done can do without them."""
    folders = {name: plan.folder.parent / name for name in plan.step.inputs.values()}
    return {n: manifest_hash(folder) for n, folder in folders.items() if read_manifest(folder) is not None}
