"""Recipes that repeat some of their steps: ``{round}`` in a step's name, and what it becomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tag2mask.core.errors import UserError
from tag2mask.core.library import FULL
from tag2mask.core.pages import Page

MARK = "{round}"
"""What stands for the number of the round in the name of a step that is repeated."""


class Round(NamedTuple):
    """A round of a recipe.

    Attributes:
        number: from 1 on; 0 for a step outside the rounds.
        last: how many rounds there are; 0 in a recipe that repeats nothing.
    """

    number: int
    last: int


OUTSIDE = Round(0, 0)
"""The round of every step of a recipe that repeats nothing."""


def count_rounds(page: Page, budget: str) -> int:
    """How many rounds a page asks for: ``rounds: 3``, or ``rounds: {full: 3, small: 1}``.

    Args:
        page: the page of a recipe, with ``rounds``.
        budget: the budget of the run; one that the page does not name has as many rounds as full.

    Raises:
        UserError: the page does not follow this form.
    """
    given = page.plain["rounds"]
    counts = given if isinstance(given, dict) else {FULL: given}
    if FULL not in counts:
        raise UserError(f"{page.where('rounds')}: rounds that differ by budget must name {FULL}, got {given}")
    for count in counts.values():
        if not isinstance(count, int) or count < 1:
            raise UserError(f"{page.where('rounds')}: rounds must be a whole number from 1 on, got {count!r}")
    return int(counts[budget if budget in counts else FULL])


def rounds_of(page: Page, names: Sequence[str], count: int | None) -> list[tuple[str, Round]]:
    """Each step of a page with its round; repeated steps stand together and are repeated together.

    Args:
        page: the page, for messages.
        names: names of its steps in order.
        count: how many rounds; None where the page says nothing of rounds.

    Raises:
        UserError: the repeated steps are not in one block, or one of steps and ``rounds`` is missing.
    """
    repeated = [i for i, name in enumerate(names) if MARK in name]
    if bool(repeated) != (count is not None):
        raise UserError(
            f"{page.path}: rounds and steps with {MARK} in their names go together; add the other"
        )
    if not repeated or count is None:
        return [(name, OUTSIDE) for name in names]
    first, end = repeated[0], repeated[-1] + 1
    if len(repeated) != end - first:
        gap = next(i for i in range(first, end) if i not in repeated)
        late = next(i for i in repeated if i > gap)
        where = page.where(f"steps.{names[late]}")
        raise UserError(
            f"{where}: the steps with {MARK} in their names must stand together, and {names[gap]} stands "
            f"between {names[gap - 1]} and {names[late]}; name the step that a new one comes after before it"
        )
    block = [(name, Round(number, count)) for number in range(1, count + 1) for name in names[first:end]]
    outside = Round(0, count)
    return [*((n, outside) for n in names[:first]), *block, *((n, outside) for n in names[end:])]


def fill(text: Any, turn: Round) -> str:
    """A name with its numbers: ``{round}`` and ``{before}`` in a round, ``{last}`` everywhere."""
    filled = str(text)
    if turn.number:
        filled = filled.replace(MARK, str(turn.number)).replace("{before}", str(turn.number - 1))
    return filled.replace("{last}", str(turn.last))
