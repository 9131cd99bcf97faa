"""What pages say of a variant: its own part of a page, after those of the variants that it is like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tag2mask.core.errors import UserError, unknown_name
from tag2mask.core.library import Library
from tag2mask.core.pages import Page
from tag2mask.core.recipe_names import split_label
from tag2mask.pipeline.form import Change, add_steps, check_keys, mapping

_KEYS = ("like", "title", "targets", "skip", "steps")


def variant_parts(library: Library, page: Page, name: Any) -> list[Change]:
    """The parts of pages that describe a variant, that of its own page last.

    Args:
        library: the configurations.
        page: the recipe's page.
        name: a variant of the page. Its ``like`` names another variant of the page, or ``RECIPE:VARIANT``.

    Raises:
        UserError: a part has a key that variants do not have, or is like a variant that does not exist or
            like itself.
    """
    parts: list[Change] = []
    while True:
        prefix = f"variants.{name}"
        part = Change(page, prefix, mapping(page, prefix, page.plain["variants"][name]))
        check_keys(page, prefix, part.plain, _KEYS)
        if part in parts:
            names = " -> ".join(f"{p.page.path.stem}:{_name(p)}" for p in [*reversed(parts), part])
            raise UserError(f"{page.where(prefix)}: the variants form a circle: {names}; remove one like")
        parts.insert(0, part)
        if "like" not in part.plain:
            return parts
        page, name = _liked(library, part)


def variant_facts(parts: Sequence[Change]) -> dict[str, Any]:
    """Title and targets of a variant: the targets of its own page, as those of another paper are none."""
    own = parts[-1]
    title = next((part.plain["title"] for part in reversed(parts) if "title" in part.plain), "")
    targets = mapping(own.page, f"{own.prefix}.targets", own.plain.get("targets"))
    return {"title": str(title), "targets": targets}


def steps_of(part: Change) -> dict[str, Any]:
    """What a part says of steps: step -> the change."""
    return mapping(part.page, f"{part.prefix}.steps", part.plain.get("steps"))


def is_new_step(plain: Any) -> bool:
    """Whether what a variant says of a step begins a step: it says what the step is made from."""
    return isinstance(plain, Mapping) and ("base" in plain or "like" in plain)


def add_variant(
    parts: Sequence[Change], before: Mapping[str, list[Change]], skipped: Mapping[str, list[Change]]
) -> dict[str, list[Change]]:
    """The steps of a page and those that a variant adds; what it changes of the others is not yet in them.

    Args:
        parts: see `variant_parts`.
        before: the steps of the page.
        skipped: those that the page or its bases have skipped: a new step may be like one.
    """
    total = dict(before)
    for part in parts:
        own = steps_of(part)
        new = {key for key, plain in own.items() if key not in before and is_new_step(plain)}
        named = {key: own[key] if key in new else {} for key in own if key in total or key in new}
        placed = add_steps(part.page, f"{part.prefix}.steps", named, total, skipped)
        total = {key: placed[key] if key in new else total[key] for key in placed}
    return total


def _liked(library: Library, part: Change) -> tuple[Page, str]:
    """Page and name of the variant that a part is like."""
    where = part.page.where(f"{part.prefix}.like")
    recipe, variant = split_label(f"{part.plain['like']}")
    if not variant:
        recipe, variant = "", recipe
    page = library.page(library.find("recipes", recipe, where)) if recipe else part.page
    known = mapping(page, "variants", page.plain.get("variants"))
    if variant not in known:
        raise UserError(f"{where}: {unknown_name(f'variant of {page.path.stem}', variant, known)}")
    return page, variant


def _name(part: Change) -> str:
    return part.prefix.removeprefix("variants.")
