"""Tables that show runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tag2mask.core.tables import NOTHING, Table
from tag2mask.report.runs import Run


def by_run(
    title: str, runs: Sequence[Run], cells: Callable[[Run], Iterable[tuple[str, str]]], note: str = ""
) -> Table:
    """A table with one column per run, and one row per label that any of the runs has.

    Args:
        title: heading.
        runs: the columns.
        cells: gives the labels and cells of a run, in order.
        note: a sentence below the table.
    """
    columns = [dict(cells(run)) for run in runs]
    labels: dict[str, None] = {}
    for column in columns:
        labels.update(dict.fromkeys(column))
    rows = [[label, *(column.get(label, NOTHING) for column in columns)] for label in labels]
    return Table(["", *(run.name for run in runs)], rows, title, note)
