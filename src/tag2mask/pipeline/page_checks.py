"""What a page says of its steps and of its paper is checked when it is read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tag2mask.artifacts import SCRIPTS, kind_names
from tag2mask.artifacts.names import PLAIN_NAME, PLAIN_NAME_WORDS
from tag2mask.core.errors import UserError, unknown_name
from tag2mask.core.pages import Page
from tag2mask.pipeline.form import STRUCTURE, Change, mapping
from tag2mask.pipeline.rounds import MARK


def check_facts(
    change: Change, name: str, facts: Mapping[str, Any], others: Iterable[str], bases: Sequence[Page]
) -> None:
    """Refuse a step that lacks a part of its structure, or has an unknown stage, script, kind or command.

    Args:
        change: the last part of a page that describes the step.
        name: name of the step.
        facts: its structure, see `STRUCTURE`.
        others: the steps of the page and its bases, for the near name.
        bases: the kinds of step that it is based on.

    Raises:
        UserError: with file and line.
    """
    where = change.page.where(change.prefix)
    based = f", based on {', '.join(kind.where('') for kind in bases)}" if bases else ""
    if missing := [key for key in STRUCTURE if key not in facts]:
        near = difflib.get_close_matches(name, [other for other in others if other != name], n=1)
        hint = f"did you mean {near[0]}? Or give" if near else "give"
        raise UserError(
            f"{where}: step {name!r}{based} lacks {', '.join(missing)}; {hint} it a base, a kind of step"
        )
    if not PLAIN_NAME.fullmatch(name):
        raise UserError(f"{where}: step name {name!r} must be {PLAIN_NAME_WORDS}")
    for what, known in (
        ("stage", (1, 2, 3)),
        ("script", SCRIPTS),
        ("kind", kind_names()),
        ("commands", (["fit"], ["predict"], ["fit", "predict"])),
    ):
        if facts[what] not in known:
            if what in ("script", "kind") and isinstance(facts[what], str):
                error = unknown_name(what, facts[what], map(str, known))
                raise UserError(f"{where}: {error} (in step {name!r}{based})")
            shown = ", ".join(map(str, known))
            raise UserError(f"{where}: {what} of step {name!r}{based} is {facts[what]!r}; use one of {shown}")


def check_paper(page: Page, where: str, paper: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse numbers of steps that a recipe does not have in any number of rounds, and ranges that are none.

    Args:
        page: the page.
        where: the part of the page: paper, or a variant, which has targets but no ranges of its own.
        paper: ``targets`` (step -> the paper's mIoU in percent), ``val`` (the same for its maps or labels of
            val) and ``ranges`` (step -> lowest and highest mIoU to expect).
        known: names of the steps, and those of the steps of a round as the page gives them.

    Raises:
        UserError: with file, line, and the near name.
    """
    names = sorted(set(known))
    _check_names(page, f"{where}.targets", paper.get("targets"), names)
    if where != "paper":
        return
    _check_names(page, "paper.val", paper.get("val"), names)
    _check_names(page, "paper.ranges", paper.get("ranges"), names)
    for step, limits in (paper.get("ranges") or {}).items():
        if not (isinstance(limits, list) and len(limits) == 2 and 0 <= limits[0] < limits[1] <= 100):
            at = page.where(f"paper.ranges.{step}")
            raise UserError(f"{at}: a range is two numbers of 0..100, the lower first; got {limits}")


def _check_names(page: Page, where: str, plain: Any, names: Sequence[str]) -> None:
    for key in mapping(page, where, plain):
        patterns = (re.escape(name).replace(re.escape(MARK), r"\d+") for name in names)
        if not any(re.fullmatch(pattern, str(key)) for pattern in patterns):
            raise UserError(f"{page.where(f'{where}.{key}')}: {unknown_name('step', str(key), names)}")
