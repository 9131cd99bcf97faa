"""Tables of text cells for terminals, Markdown pages and reports, and how numbers are written in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NOTHING = "-"
"""The cell of a value that does not exist."""

Row = Sequence[str]

_SHARES = re.compile(r"(^|[/_])(mAP|AP|F1|IoU|mIoU|precision|coverage)(/|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """Rows of text cells; the first cell of a row is its heading.

    Attributes:
        header: one cell per column.
        rows: cells, as many per row as in `header`.
        title: heading of the table; only a report shows it.
        note: a sentence below the table.
        foot: rows below a second line, such as totals.
    """

    header: Row
    rows: Sequence[Row]
    title: str = ""
    note: str = ""
    foot: Sequence[Row] = ()

    def text(self) -> str:
        """The table for a terminal: the first column stands left, the others right."""
        every = [self.header, *self.rows, *self.foot]
        widths = [max(len(row[i]) for row in every) for i in range(len(self.header))]
        head, *lines = [_line(row, widths) for row in every]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        body, foot = lines[: len(self.rows)], lines[len(self.rows) :]
        note = [self.note] if self.note else []
        return "\n".join([head, rule, *body, *([rule, *foot, rule] if foot else []), *note])

    def markdown(self) -> str:
        """The table as GitHub's Markdown, without title and note."""
        head, *lines = ["| " + " | ".join(row) + " |" for row in (self.header, *self.rows, *self.foot)]
        return "\n".join([head, "|---" * len(self.header) + "|", *lines])


def percent(share: Any) -> str:
    """A share in [0, 1] in percent with one decimal, without the sign; `NOTHING` where there is none."""
    return f"{100 * share:.1f}" if isinstance(share, int | float) else NOTHING


def is_share(name: str) -> bool:
    """Whether a logged value of this name is a share in [0, 1], such as ``val/mAP``."""
    return _SHARES.search(name) is not None


def metric(name: str, value: float) -> str:
    """A logged value: in percent where its name says that it is a share, else with four digits.

    Example:
        >>> metric("val/mAP", 0.923), metric("train/loss", 0.012345)
        ('92.3 %', '0.01235')
    """
    return f"{percent(value)} %" if is_share(name) else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Seconds as ``1 h 02 min``, ``3 min 04 s`` or ``5 s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def _line(row: Row, widths: Sequence[int]) -> str:
    cells = zip(row, widths, strict=True)
    return "  ".join(f"{c:<{w}}" if i == 0 else f"{c:>{w}}" for i, (c, w) in enumerate(cells)).rstrip()
