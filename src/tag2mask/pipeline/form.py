"""The form of a recipe's page: the keys that it may have, and how pages are combined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tag2mask.core.errors import UserError, unknown_name
from tag2mask.core.layers import Layer
from tag2mask.core.library import Library
from tag2mask.core.pages import Page
from tag2mask.pipeline.rounds import MARK, Round
from tag2mask.pipeline.steps import Section

PARTS = ("model", "data", "trainer")
"""The parts of the settings of a step, as in a LightningCLI."""
STRUCTURE = ("stage", "script", "commands", "kind", "inputs")
"""The other keys that a step needs."""

PAGE_KEYS = ("base", "title", "paper", "backbone", "rounds", "skip", "steps", "variants")
STEP_KEYS = (
    "base",
    "like",
    "backbone",
    *STRUCTURE,
    *PARTS,
    "backbones",
    "budgets",
    "first",
    "last",
    "by_round",
)
ROUND_KEYS = ("name", *STRUCTURE, *PARTS)
PAPER_KEYS = ("citation", "targets", "val", "ranges", "every_image")


class Change(NamedTuple):
    """A part of a page that describes a step: the page, the path of the part, and the part."""

    page: Page
    prefix: str
    plain: Mapping[str, Any]


def add_page(page: Page, before: Mapping[str, list[Change]]) -> dict[str, list[Change]]:
    """The steps of a page and its base: a new step comes right after the one that is named before it."""
    changes = add_steps(page, "steps", mapping(page, "steps", page.plain.get("steps")), before)
    for name in sequence(page, "skip", page.plain.get("skip", [])):
        if name not in before:
            raise UserError(f"{page.where('skip')}: {unknown_name('step of its base', str(name), before)}")
        changes.pop(name)
    return changes


def add_steps(
    page: Page,
    where: str,
    own: Mapping[str, Any],
    before: Mapping[str, list[Change]],
    skipped: Mapping[str, list[Change]] = {},
) -> dict[str, list[Change]]:
    """The steps that a part of a page describes and those before it, in their order.

    Args:
        page: the page.
        where: path of the part.
        own: the part: step -> what it says of it.
        before: the steps before: name -> all changes that describe one.
        skipped: steps that are left out, which a new step may be like all the same.
    """
    order, at = list(before), 0
    for name in own:
        if name in order:
            at = order.index(name) + 1
        else:
            order.insert(at, name)
            at += 1
    changes: dict[str, list[Change]] = {}
    for name in order:
        changes[name] = list(before.get(name, []))
        if name in own:
            prefix = f"{where}.{name}"
            change = Change(page, prefix, mapping(page, prefix, own[name]))
            changes[name] = _add_step(name, change, {**skipped, **before, **changes})
    return changes


def _add_step(name: str, change: Change, written: Mapping[str, list[Change]]) -> list[Change]:
    """All changes that describe a step, in order; ``base`` and ``like`` drop the earlier ones."""
    page, prefix, plain = change
    check_keys(page, prefix, plain, STEP_KEYS)
    before = [] if "base" in plain else written[name]
    if "like" in plain:
        if plain["like"] not in written or plain["like"] == name:
            known = [other for other in written if other != name]
            where = page.where(f"{prefix}.like")
            raise UserError(f"{where}: {unknown_name('earlier step', str(plain['like']), known)}")
        before = written[plain["like"]]
    return [*before, change]


def part_settings(page: Page, prefix: str, plain: Mapping[str, Any]) -> Layer:
    """The settings (`PARTS`) of a part of a page."""
    return page.settings({k: v for k, v in plain.items() if str(k).split(".")[0] in PARTS}, prefix)


def sections_of(change: Change) -> list[Section]:
    """What a part of a page sets: always, with each backbone, and with each budget."""
    page, prefix, plain = change
    found = [Section("page", "", part_settings(page, prefix, plain))]
    for when in ("backbones", "budgets"):
        for name, part in mapping(page, f"{prefix}.{when}", plain.get(when)).items():
            where = f"{prefix}.{when}.{name}"
            check_keys(page, where, mapping(page, where, part), PARTS)
            found.append(Section(when, str(name), part_settings(page, where, part)))
    return found


def inputs_of(change: Change) -> dict[str, Any]:
    """The inputs that a part of a page gives: setting -> step, or None to take one away."""
    inputs = mapping(change.page, f"{change.prefix}.inputs", change.plain.get("inputs"))
    for flag in inputs:
        if str(flag).split(".")[0] not in PARTS:
            where = change.page.where(f"{change.prefix}.inputs.{flag}")
            raise UserError(f"{where}: inputs name settings such as data.init_args.maps_dir, got {flag!r}")
    return inputs


def backbone_of(library: Library, change: Change) -> str:
    """The backbone that a part of a page names, "" for none.

    Raises:
        UserError: there is none of that name; with file and line.
    """
    name = str(change.plain.get("backbone") or "")
    if name:
        library.find("backbones", name, change.page.where(f"{change.prefix}.backbone".lstrip(".")))
    return name


def round_changes(change: Change, turn: Round) -> list[Change]:
    """The changes of a step that hold in this round only: ``by_round``, ``first`` and ``last``."""
    page, prefix, plain = change
    if not turn.number and any(key in plain for key in ("first", "last", "by_round")):
        raise UserError(
            f"{page.where(prefix)}: first, last and by_round are for steps with {MARK} in the name"
        )
    found = []
    by_round = sequence(page, f"{prefix}.by_round", plain.get("by_round", []))
    if by_round:
        found.append(("by_round", by_round[min(turn.number, len(by_round)) - 1]))
    found += [("first", plain["first"])] if turn.number == 1 and "first" in plain else []
    found += [("last", plain["last"])] if turn.number == turn.last and "last" in plain else []
    changes = []
    for key, value in found:
        where = f"{prefix}.{key}"
        check_keys(page, where, mapping(page, where, value), ROUND_KEYS)
        changes.append(Change(page, where, value))
    return changes


def check_keys(page: Page, where: str, plain: Mapping[Any, Any], known: Iterable[str]) -> None:
    """Refuse keys that a part of a page does not have; settings may be paths with dots.

    Raises:
        UserError: with file, line, and the near name.
    """
    names = tuple(known)
    for key in plain:
        word = str(key)
        part = word.split(".", maxsplit=1)[0]
        if word not in names and not (part in PARTS and part in names):
            at = page.where(f"{where}.{word}" if where else word)
            raise UserError(f"{at}: {unknown_name('key', word, names)}")


def text(page: Page, key: str) -> str:
    """A line of text that a page must have."""
    value = page.plain.get(key)
    if not isinstance(value, str):
        raise UserError(f"{page.path} needs a {key}: one line of text")
    return value


def mapping(page: Page, where: str, value: Any) -> dict[str, Any]:
    """A part of a page that must be a mapping; {} where there is none."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{page.where(where)}: {where} must be a mapping of keys to values, got {value!r}")
    return value


def sequence(page: Page, where: str, value: Any) -> Sequence[Any]:
    """A part of a page that must be a list."""
    if not isinstance(value, list):
        raise UserError(f"{page.where(where)}: {where} must be a list, got {value!r}")
    return value
