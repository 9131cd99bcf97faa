"""One error for all that is wrong with the images of a data set."""

from __future__ import annotations

from collections.abc import Sequence

from tag2mask.core import UserError

_SHOWN = 10
"""Problems that are named; of the others there is the count."""


def problems_error(
    problems: Sequence[str],
    way_out: str = "mend them, or leave the images out: tag2mask data check --skip-bad",
) -> UserError:
    """One error for all that is wrong with some images: the first few, how many there are, and what to do."""
    if len(problems) == 1:
        return UserError(problems[0])
    lines = _said_once(problems[:_SHOWN])
    more = [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    return UserError("\n  ".join([f"{len(problems)} things are wrong:", *lines, *more]) + f"\n{way_out}")


def _said_once(problems: Sequence[str]) -> list[str]:
    """Problems with the same remedy, which follows the first colon, end in it once."""
    groups: dict[str, list[str]] = {}
    for problem in problems:
        what, _, remedy = problem.partition(": ")
        groups.setdefault(remedy, []).append(what)
    return [
        line
        for remedy, some in groups.items()
        for line in (*some[:-1], f"{some[-1]}: {remedy}" if remedy else some[-1])
    ]
