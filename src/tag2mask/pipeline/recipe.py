"""Recipes as pages: the steps of a paper, what each reads and is set to, and its variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tag2mask.core.errors import UserError
from tag2mask.core.library import FULL, Library
from tag2mask.core.pages import Page
from tag2mask.pipeline.form import (
    PAGE_KEYS,
    PAPER_KEYS,
    PARTS,
    STRUCTURE,
    Change,
    add_page,
    backbone_of,
    check_keys,
    inputs_of,
    mapping,
    round_changes,
    sections_of,
    text,
)
from tag2mask.pipeline.page_checks import check_facts, check_paper
from tag2mask.pipeline.rounds import Round, count_rounds, fill, rounds_of
from tag2mask.pipeline.steps import Recipe, Section, Step
from tag2mask.pipeline.variant_parts import add_variant, variant_facts, variant_parts
from tag2mask.pipeline.variants import apply_variants, names_of


def load_recipe(
    library: Library, name: str, variant: str = "", rounds: int | None = None, budget: str = FULL
) -> Recipe:
    """Read and check the page of a recipe and the pages that it is based on.

    Args:
        library: the configurations.
        name: name of the recipe, or the path of a page.
        variant: the variant to apply, or several with ``+`` between them; "" for none.
        rounds: how often the steps of a round are repeated; None for as often as the page says.
        budget: for which budget; only the number of rounds depends on it.

    Raises:
        UserError: a page does not follow the form of a recipe, or there is no such variant.
    """
    pages = library.chain("recipes", name)
    page = pages[-1]
    for each in pages:
        check_keys(each, "", each.plain, PAGE_KEYS)
    variants = mapping(page, "variants", page.plain.get("variants"))
    parts = {str(key): variant_parts(library, page, key) for key in variants}
    recipe = Recipe(
        page.path.stem,
        text(page, "title"),
        _steps(library, pages, rounds, budget),
        {key: variant_facts(own) for key, own in parts.items()},
        "",
        mapping(page, "paper", page.plain.get("paper")),
    )
    check_keys(page, "paper", recipe.paper, PAPER_KEYS)
    _check_steps(page, recipe)

    def applied(names: Sequence[str]) -> Recipe:
        asked = {key: parts[key] for key in names}
        steps = _steps(library, pages, rounds, budget, list(asked.values()))
        varied = apply_variants(recipe, steps, asked)
        _check_steps(page, varied)
        return varied

    # a broken variant is found when the recipe is read, not on the day that somebody asks for it
    alone = {key: applied([key]) for key in recipe.variants}
    if not variant:
        return recipe
    names = names_of(variant, recipe)
    return alone[names[0]] if len(names) == 1 else applied(names)


def _steps(
    library: Library,
    pages: Sequence[Page],
    rounds: int | None,
    budget: str,
    variants: Sequence[Sequence[Change]] = (),
) -> tuple[Step, ...]:
    """The steps of a page and those that its variants add, in their rounds."""
    written, every = dict[str, list[Change]](), dict[str, list[Change]]()
    backbone, count = "", None
    for page in pages:
        every, written = every | written, add_page(page, written)
        backbone = backbone_of(library, Change(page, "", page.plain)) or backbone
        if "rounds" in page.plain:
            count = count_rounds(page, budget)
    for parts in variants:
        written = add_variant(parts, written, every)
    if count is None and rounds is not None:
        raise UserError(f"recipe {pages[-1].path.stem} repeats no steps: leave --rounds out")
    made = [
        _step(library, pages[-1], name, written, turn, backbone)
        for name, turn in rounds_of(pages[-1], list(written), rounds or count)
    ]
    return tuple(made)


def _step(
    library: Library, page: Page, template: str, every: Mapping[str, list[Change]], turn: Round, backbone: str
) -> Step:
    written = every[template]
    changes = [c for change in written for c in (change, *round_changes(change, turn))]
    facts: dict[str, Any] = {}
    sections, fixed = list[Section](), set[str]()
    base = next((c.plain["base"] for c in reversed(changes) if "base" in c.plain), None)
    bases = library.chain("steps", str(base), written[-1].page.where(written[-1].prefix)) if base else []
    for kind in bases:
        check_keys(kind, "", kind.plain, ("base", *STRUCTURE, *PARTS))
    for change in [*(Change(kind, "", kind.plain) for kind in bases), *changes]:
        own = change.plain
        facts |= {k: own[k] for k in ("name", *STRUCTURE) if k in own and k != "inputs"}
        backbone = backbone_of(library, change) or backbone
        inputs = inputs_of(change)
        facts["inputs"] = {**facts.get("inputs", {}), **inputs}
        if change.prefix.endswith((".first", ".last")):
            fixed |= set(inputs)
        if change.prefix:
            sections += sections_of(change)
    name = fill(facts.get("name", template), turn)
    facts["inputs"] = {k: fill(v, turn) for k, v in facts["inputs"].items() if v is not None}
    check_facts(written[-1], name, facts, every, bases)
    return Step(
        name, facts["stage"], facts["script"], tuple(facts["commands"]), facts["kind"], facts["inputs"],
        tuple(kind.path.stem for kind in bases), backbone, tuple(sections),
        template, turn, frozenset(fixed),
    )  # fmt: skip


def _check_steps(page: Page, recipe: Recipe) -> None:
    if not recipe.steps:
        raise UserError(f"{page.path}: {recipe.label} has no steps")
    seen: list[str] = []
    for step in recipe.steps:
        where = page.where(f"steps.{step.template}")
        if step.name in seen:
            raise UserError(f"{where}: two steps of {recipe.label} are called {step.name!r}; rename one")
        for flag, source in step.inputs.items():
            if source not in seen:
                raise UserError(
                    f"{where}: {flag} of step {step.name!r} in {recipe.label} reads {source!r}, "
                    f"which is no earlier step; earlier: {', '.join(seen) or 'none'}"
                )
        seen.append(step.name)
    part = f"variants.{recipe.variant}" if recipe.variant else "paper"
    check_paper(page, part, recipe.paper, [*seen, *(s.template for s in recipe.steps)])
    stages = [step.stage for step in recipe.steps]
    if stages != sorted(stages):
        raise UserError(
            f"{page.path}: the stages of {recipe.label} go back ({stages}); order its steps by stage"
        )
