"""Which classes are taken for which: the confusion of each scored step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tag2mask.core.tables import percent
from tag2mask.report.runs import Run, Step, title_of

OTHER, UNKNOWN = "no class", "unknown"
MOST_PAIRS = 6


class Share(NamedTuple):
    """A cell: the share of the true class's pixels, in percent, as text and as strength of its colour."""

    text: str
    strength: float
    right: bool


class Mistake(NamedTuple):
    """Pixels of one class that were given another one; `share` is of the pixels of the true class."""

    true: str
    given: str
    share: float


class Matrix(NamedTuple):
    """Shares of the pixels of each true class (rows) by the class that they were given (columns)."""

    title: str
    columns: list[str]
    rows: list[tuple[str, list[Share]]]
    mistakes: list[Mistake]


def matrices(runs: Sequence[Run]) -> list[Matrix]:
    """The confusion of every step that has one, in order."""
    return [
        Matrix(title_of(step, run, runs), *_cells(step), mistakes(step))
        for run in runs
        for step in run.steps
        if _counts(step)
    ]


def mistakes(step: Step) -> list[Mistake]:
    """The commonest mistakes of a step, the largest share first."""
    names = step.manifest.class_list().all_names
    found = [
        Mistake(names[true], (*names, OTHER, UNKNOWN)[given], count / sum(row))
        for true, row in enumerate(_counts(step))
        for given, count in enumerate(row)
        if count and given != true and given <= len(names)
    ]
    return sorted(found, key=lambda mistake: -mistake.share)[:MOST_PAIRS]


def _counts(step: Step) -> list[list[int]]:
    """Pixel counts; empty for a step that was scored by an earlier version, or not at all."""
    counts: list[list[int]] = (step.score or {}).get("confusion") or []
    return counts if len(counts) == len(step.manifest.class_list()) + 1 else []


def _cells(step: Step) -> tuple[list[str], list[tuple[str, list[Share]]]]:
    counts = _counts(step)
    names = [*step.manifest.class_list().all_names, OTHER, UNKNOWN]
    kept = [at for at in range(len(names)) if at < len(counts) or any(row[at] for row in counts)]
    rows = [
        (names[true], [_share(row[at], sum(row), at == true) for at in kept])
        for true, row in enumerate(counts)
    ]
    return [names[at] for at in kept], rows


def _share(count: int, total: int, right: bool) -> Share:
    share = count / total if total else 0.0
    return Share(percent(share) if count else "", round(share, 3), right)
