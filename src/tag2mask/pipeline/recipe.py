"""Recipes as pages: the steps of a paper, what each reads and is set to, and its variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from tag2mask.artifacts import find_kind
from tag2mask.core.errors import UserError, unknown_name
from tag2mask.core.library import FULL, Library
from tag2mask.core.pages import Layer, Page
from tag2mask.pipeline.form import (
    PAGE_KEYS,
    PAPER_KEYS,
    PARTS,
    STRUCTURE,
    VARIANT_KEYS,
    VARIANT_STEP_KEYS,
    Change,
    add_page,
    backbone_of,
    check_facts,
    check_keys,
    check_paper,
    inputs_of,
    mapping,
    part_settings,
    round_changes,
    sequence,
    text,
)
from tag2mask.pipeline.rounds import MARK, OUTSIDE, Round, count_rounds, fill, rounds_of


class Section(NamedTuple):
    """Settings of a step, and when they hold.

    Attributes:
        when: page (always), backbones, budgets or variant.
        name: the backbone or budget.
        settings: the settings.
    """

    when: str
    name: str
    settings: Layer


@dataclass(frozen=True)
class Step:
    """One step of a recipe: the commands of one script that fill one folder.

    Attributes:
        name: name of the step and of its folder.
        stage: 1, 2 or 3.
        script: the script that runs it.
        commands: ``fit`` and/or ``predict``, in order.
        kind: what its folder holds.
        inputs: option (without dashes) that takes a folder -> the step that fills it.
        bases: the kinds of step that it is one of, the most general first.
        backbone: the network that the page names, "" for none.
        sections: what the pages set.
        template: its name in the page.
        turn: the round that it belongs to.
        fixed: inputs that its round sets, which no variant changes.
    """

    name: str
    stage: int
    script: str
    commands: tuple[str, ...]
    kind: str
    inputs: dict[str, str] = field(default_factory=dict)
    bases: tuple[str, ...] = ()
    backbone: str = ""
    sections: tuple[Section, ...] = ()
    template: str = ""
    turn: Round = OUTSIDE
    fixed: frozenset[str] = frozenset()

    @property
    def score(self) -> bool:
        """Whether its result can be compared with true masks."""
        return find_kind(self.kind).scored_as is not None

    @property
    def trains(self) -> bool:
        """Whether it trains a network."""
        return "fit" in self.commands


@dataclass(frozen=True)
class Recipe:
    """A recipe, or one variant of it.

    Attributes:
        name: name of the recipe and of its page.
        title: one line.
        steps: in order; every input is an earlier step.
        variants: title and targets of each, by name.
        variant: the one that `steps` follow, "" for the recipe as such.
        paper: citation and targets (step -> mIoU in percent), those of the variant.
    """

    name: str
    title: str
    steps: tuple[Step, ...]
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    variant: str = ""
    paper: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """``name`` or ``name:variant``."""
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


def load_recipe(
    library: Library, name: str, variant: str = "", rounds: int | None = None, budget: str = FULL
) -> Recipe:
    """Read and check the page of a recipe and the pages that it is based on.

    Args:
        library: the configurations.
        name: name of the recipe, or the path of a page.
        variant: the variant to apply, "" for none.
        rounds: how often the steps of a round are repeated; None for as often as the page says.
        budget: for which budget; only the number of rounds depends on it.

    Raises:
        UserError: a page does not follow the form of a recipe, or there is no such variant.
    """
    pages = library.chain("recipes", name)
    page = pages[-1]
    for each in pages:
        check_keys(each, "", each.plain, PAGE_KEYS)
    steps = _steps(library, pages, rounds, budget)
    recipe = Recipe(
        page.path.stem,
        text(page, "title"),
        steps,
        {str(k): _variant_facts(page, k) for k in mapping(page, "variants", page.plain.get("variants"))},
        "",
        mapping(page, "paper", page.plain.get("paper")),
    )
    check_keys(page, "paper", recipe.paper, PAPER_KEYS)
    _check_steps(page, recipe)
    # a broken variant is found when the recipe is read, not on the day that somebody asks for it
    applied = {key: _apply(page, recipe, key) for key in recipe.variants}
    if not variant:
        return recipe
    if variant not in applied:
        raise unknown_name(f"variant of {recipe.name}", variant, applied)
    return applied[variant]


def split_label(label: str) -> tuple[str, str]:
    """``RECIPE[:VARIANT]`` -> name (or path) of the recipe, and its variant or ""."""
    name, _, variant = label.partition(":")
    return name, variant


def _steps(library: Library, pages: Sequence[Page], rounds: int | None, budget: str) -> tuple[Step, ...]:
    written: dict[str, list[Change]] = {}
    backbone, count, own = "", None, rounds
    for page in pages:
        written = add_page(page, written)
        backbone = backbone_of(library, Change(page, "", page.plain)) or backbone
        if "rounds" in page.plain:
            count = count_rounds(page, budget)
    if count is None and own is not None:
        raise UserError(f"recipe {pages[-1].path.stem} repeats no steps: leave --rounds out")
    count = own or count
    made = [
        _step(library, pages[-1], name, written, turn, backbone)
        for name, turn in rounds_of(pages[-1], list(written), count)
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
            sections += _sections(change)
    name = fill(facts.get("name", template), turn)
    facts["inputs"] = {k: fill(v, turn) for k, v in facts["inputs"].items() if v is not None}
    check_facts(written[-1], name, facts, every, bases)
    return Step(
        name, facts["stage"], facts["script"], tuple(facts["commands"]), facts["kind"], facts["inputs"],
        tuple(kind.path.stem for kind in bases), backbone, tuple(sections),
        template, turn, frozenset(fixed),
    )  # fmt: skip


def _sections(change: Change) -> list[Section]:
    page, prefix, plain = change
    found = [Section("page", "", part_settings(page, prefix, plain))]
    for when in ("backbones", "budgets"):
        for name, part in mapping(page, f"{prefix}.{when}", plain.get(when)).items():
            where = f"{prefix}.{when}.{name}"
            check_keys(page, where, mapping(page, where, part), PARTS)
            found.append(Section(when, str(name), part_settings(page, where, part)))
    return found


def _variant_facts(page: Page, name: Any) -> dict[str, Any]:
    where = f"variants.{name}"
    plain = mapping(page, where, page.plain["variants"][name])
    check_keys(page, where, plain, VARIANT_KEYS)
    return {"title": str(plain.get("title", "")), "targets": mapping(page, where, plain.get("targets"))}


def _apply(page: Page, recipe: Recipe, name: str) -> Recipe:
    where, plain = f"variants.{name}", page.plain["variants"][name]
    skipped = [
        s for key in sequence(page, where, plain.get("skip", [])) for s in _named(page, where, recipe, key)
    ]
    steps = {step.name: step for step in recipe.steps if step not in skipped}
    for key, change in mapping(page, where, plain.get("steps")).items():
        prefix = f"{where}.steps.{key}"
        check_keys(page, prefix, mapping(page, prefix, change), VARIANT_STEP_KEYS)
        for step in _named(page, prefix, recipe, key):
            steps[step.name] = _changed(step, Change(page, prefix, change))
    paper = {**recipe.paper, "targets": recipe.variants[name]["targets"]}
    applied = replace(recipe, steps=tuple(steps.values()), variant=name, paper=paper)
    _check_steps(page, applied)
    return applied


def _changed(step: Step, change: Change) -> Step:
    inputs = {**step.inputs, **{k: v for k, v in inputs_of(change).items() if k not in step.fixed}}
    own = [s._replace(when="variant") if s.when == "page" else s for s in _sections(change)]
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
