"""The resolved settings of a step: layers of pages, and where each value comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tag2mask.core.errors import UserError, unknown_name
from tag2mask.core.layers import Layer, Setting, overlay
from tag2mask.core.library import FULL, Library
from tag2mask.core.pages import Page
from tag2mask.pipeline.form import PARTS, check_keys, mapping, part_settings
from tag2mask.pipeline.steps import Recipe, Step

_BACKBONE = "model.init_args.backbone.name"
_LENGTHS = ("trainer.max_epochs", "trainer.max_steps")


@dataclass(frozen=True)
class Choice:
    """What a run chooses for all steps of a recipe.

    Attributes:
        budget: name of a budget.
        backbone: name or path of a backbone, in place of the budget's or the page's; "" for none.
        data: settings of the data configuration.
    """

    budget: str = FULL
    backbone: str = ""
    data: Mapping[str, Setting] = field(default_factory=dict)


def resolve(library: Library, step: Step, choice: Choice) -> Layer:
    """The settings of a step, with the origin of each.

    Later layers win: kind of step, backbone, page (with what it says of that backbone), budget, what the
    page says of that budget, data set, variant.

    Raises:
        UserError: a file is missing or broken, the budget does not say how long the step trains, or it
            would put other classes into a list than the page.
    """
    bases = [library.page(library.find("steps", name)) for name in step.bases]
    networks = _networks(library, step, choice)
    names = [page.path.stem for page in networks]
    budget = _budget_layers(library, step, choice.budget)
    if choice.budget != FULL and step.trains and not _says_length(budget):
        raise UserError(
            f"step {step.name} has no budget {choice.budget!r}: its page must say trainer.max_epochs under "
            f"budgets.{choice.budget}; or use --budget {FULL}"
        )
    total = overlay(
        *(part_settings(page, "", page.plain) for page in bases),
        *(layer for page in networks for layer in _kind_layers(page, step)),
        {_BACKBONE: Setting(names[-1], networks[-1].where(""))} if networks else {},
        *(
            s.settings
            for s in step.sections
            if s.when == "page" or (s.when == "backbones" and s.name in names)
        ),
        *budget,
        choice.data,
        *(s.settings for s in step.sections if s.when == "variant"),
    )
    _check_links(step, choice.budget, overlay(*budget), total)
    return total


def budgets_of(library: Library, recipe: Recipe) -> list[str]:
    """``full`` and the budgets that say how long each step of a recipe trains."""
    steps = [step for step in recipe.steps if step.trains]
    others = [name for name in library.names("budgets") if name != FULL]
    return [
        FULL, *(name for name in others if all(_says_length(_budget_layers(library, s, name)) for s in steps))
    ]  # fmt: skip


def refused_budgets(library: Library, recipe: Recipe) -> dict[str, str]:
    """Those of `budgets_of` with which a step of a recipe is refused, and why."""
    found = {}
    for budget in budgets_of(library, recipe):
        try:
            for step in recipe.steps:
                resolve(library, step, Choice(budget))
        except UserError as error:
            found[budget] = str(error)
    return found


def require_budget(library: Library, recipe: Recipe, name: str) -> None:
    """Refuse a budget that does not exist, or under which a step does not say how long it trains.

    Raises:
        UserError: with those that work.
    """
    budgets = budgets_of(library, recipe)
    if name not in budgets:
        refused = refused_budgets(library, recipe)
        raise unknown_name(f"budget of {recipe.name}", name, [b for b in budgets if b not in refused])


def check_sections(library: Library, recipe: Recipe) -> None:
    """Refuse sections for budgets, backbones and kinds of step that do not exist.

    Raises:
        UserError: with the near name.
    """
    known = {part: library.names(part) for part in ("budgets", "backbones")}
    kinds = library.names("steps")
    for part, other in (("budgets", "backbone"), ("backbones", "base")):
        for page in (library.page(library.find(part, name)) for name in known[part]):
            for key in page.plain:
                if key not in (other, *kinds):
                    raise UserError(
                        f"{page.where(key)}: {unknown_name('kind of step', key, (other, *kinds))}"
                    )
    for step in recipe.steps:
        for section in step.sections:
            if section.when in known and section.name not in known[section.when]:
                origin = next((s.origin for s in section.settings.values()), recipe.name)
                raise UserError(
                    f"{origin}: {unknown_name(section.when[:-1], section.name, known[section.when])}"
                )


def _networks(library: Library, step: Step, choice: Choice) -> list[Page]:
    """The page of the step's backbone and its bases; none for a step without a network of its own."""
    if not step.has_network:
        return []
    name, origin = choice.backbone, "--backbone"
    if not name and choice.budget != FULL:
        page = library.page(library.find("budgets", choice.budget))
        name, origin = str(page.plain.get("backbone", "")), page.where("backbone")
    if not name:
        name, origin = step.backbone, f"step {step.name}"
    return library.chain("backbones", name, origin) if name else []


def _budget_layers(library: Library, step: Step, budget: str) -> list[Layer]:
    if budget == FULL:
        return []
    page = library.page(library.find("budgets", budget))
    own = [s.settings for s in step.sections if s.when == "budgets" and s.name == budget]
    return [*_kind_layers(page, step), *own]


def _kind_layers(page: Page, step: Step) -> list[Layer]:
    """What a page says of the kinds of step that a step is one of."""
    layers = []
    for kind in step.bases:
        if kind in page.plain:
            part = mapping(page, kind, page.plain[kind])
            check_keys(page, kind, part, PARTS)
            layers.append(part_settings(page, kind, part))
    return layers


def _check_links(step: Step, name: str, budget: Layer, total: Layer) -> None:
    """Refuse a budget whose list has other classes than the page's: the run would be of another method."""
    sections = [s for s in step.sections if s.when == "budgets"]
    agreed = [setting for section in sections for setting in section.settings.values()]
    for path, ours in overlay(*(s.settings for s in step.sections if s.when == "page")).items():
        theirs = budget.get(path)
        if theirs is None or theirs is not total.get(path) or theirs in agreed:
            continue
        if _classes(ours.value) != _classes(theirs.value):
            raise UserError(
                f"step {step.name}: {path} is {_classes(ours.value) or 'empty'} in {ours.origin}, and "
                f"{_classes(theirs.value) or 'empty'} in the budget ({theirs.origin}), which would win: say "
                f"under budgets.{name} of the step which classes it has there"
            )


def _classes(value: object) -> str:
    """The classes that a list names, without their modules; "" for other values."""
    entries = value if isinstance(value, list) else []
    paths = [str(entry.get("class_path", "")) for entry in entries if isinstance(entry, Mapping)]
    return ", ".join(path.rpartition(".")[2] for path in paths)


def _says_length(layers: Sequence[Layer]) -> bool:
    # Lightning's -1 steps and null epochs say that the other of the two counts
    lengths = [layer[key].value for layer in layers for key in _LENGTHS if key in layer]
    return any(length not in (None, -1) for length in lengths)
