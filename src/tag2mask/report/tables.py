"""Tables of plain cells, shown as text or as HTML, and the numbers in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from tag2mask.report.runs import Run

NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """Rows of text cells; the first cell of a row is its heading.

    Attributes:
        title: heading.
        header: one cell per column.
        rows: cells, as many per row as in `header`.
        note: a sentence below the table.
        css_class: class of the HTML section.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""
    css_class: str = ""

    def text(self) -> str:
        """The table for a terminal: headings to the left, numbers to the right."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        shown = [_text_line(line, widths) for line in lines]
        rule = "-" * len(shown[0])
        return "\n".join([shown[0], rule, *shown[1:], *([self.note] if self.note else [])])

    def html(self) -> str:
        """The table as an HTML section; every cell is escaped."""
        head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in self.header)
        body = "".join(
            f'<tr><th scope="row">{escape(row[0])}</th>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in self.rows
        )
        note = f'<p class="note">{escape(self.note)}</p>' if self.note else ""
        return (
            f'<section class="{escape(self.css_class)}"><h2>{escape(self.title)}</h2>'
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
            f"{note}</section>"
        )


def percent(value: Any) -> str:
    """A share in [0, 1] in per cent with one decimal."""
    return f"{100 * value:.1f}" if isinstance(value, int | float) else NOTHING


def duration(seconds: float) -> str:
    """Seconds as ``1 h 02 min``, ``3 min 04 s`` or ``5 s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


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
    return Table(title, ["", *(run.name for run in runs)], rows, note)


def _text_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = f"{cells[0]:<{widths[0]}}"
    return "  ".join(
        [first, *(f"{cell:>{width}}" for cell, width in zip(cells[1:], widths[1:], strict=True))]
    )
