"""A table of tags in any usual form, as rows of image, names and split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tag2mask.core import UserError
from tag2mask.data.separators import bare, clean_name, find_separator, opens_list, split_cell
from tag2mask.data.table_text import read_lines
from tag2mask.data.tag_columns import (
    Columns,
    Line,
    find_columns,
    headless,
    is_image_name,
    is_yes,
)

SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Words for a split -> its name."""


@dataclass(frozen=True)
class TableForm:
    """What is known of a table before it is read; None is found by looking.

    Attributes:
        separator: what separates the names in a cell: a character, or the word none, space, comma,
            semicolon or tab.
        tags_column: heading of the column of tags.
        known: the class names.
    """

    separator: str | None = None
    tags_column: str | None = None
    known: tuple[str, ...] | None = None


@dataclass(frozen=True)
class TagRow:
    """The tags of one image.

    Attributes:
        image: the image as the table writes it.
        names: its distinct class names; none for an image without tags.
        split: the split, "" where the table has none.
        line: the first line of the file that names the image.
    """

    image: str
    names: tuple[str, ...]
    split: str
    line: int


def read_tag_table(path: Path, form: TableForm | None = None) -> list[TagRow]:
    """The images of a table of tags, in its order.

    The columns may be separated by commas, semicolons, tabs or bars. Tags are one column of names (with a
    separator that is found by looking at the whole column, or as a list in brackets), several columns, a
    row for each tag, or a column of zeros and ones for each class.

    Raises:
        UserError: the file cannot be read as a table, or in more than one way; an image has two rows.
    """
    form = form or TableForm()
    lines = read_lines(path)
    columns, body = _columns(path, lines, form)
    rows = _one_hot(columns, body) if columns.one_hot else _named(path, columns, body, form)
    return _merged(path, rows)


def unused_columns(path: Path, form: TableForm | None = None) -> tuple[str, ...]:
    """The headings of columns that `read_tag_table` does not look at."""
    return _columns(path, read_lines(path), form or TableForm())[0].unused


def _columns(path: Path, lines: Sequence[Line], form: TableForm) -> tuple[Columns, Sequence[Line]]:
    first = lines[0][1]
    if is_image_name(first[0]) and len(first) > 1:
        return headless(lines), lines
    return find_columns(str(path), first, lines[1:], form.tags_column), lines[1:]


def _one_hot(columns: Columns, lines: Sequence[Line]) -> list[TagRow]:
    return [
        _row(
            columns, line, tuple(clean_name(columns.names[i]) for i in columns.tags if is_yes(_cell(line, i)))
        )
        for line in lines
    ]


def _named(path: Path, columns: Columns, lines: Sequence[Line], form: TableForm) -> list[TagRow]:
    images = [_cell(line, columns.image) for line in lines]
    holds = "perhaps one" if columns.holds == "many" and len(set(images)) < len(images) else columns.holds
    where = f"{path}, column {columns.names[columns.tags[0]]!r}"
    cells = [_tag_cells(columns, line) for line in lines]
    separator = find_separator([c for row in cells for c in row], form.separator, form.known, where, holds)
    return [
        _row(columns, line, tuple(dict.fromkeys(n for c in row for n in split_cell(c, separator))))
        for line, row in zip(lines, cells, strict=True)
    ]


def _tag_cells(columns: Columns, line: Line) -> list[str]:
    beyond = line[1][len(columns.names) :] if columns.open_end else []
    cells = [*(_cell(line, i) for i in columns.tags), *beyond]
    # a list that was written without quotes around it
    return [",".join(cells)] if opens_list(cells[0]) else cells


def _row(columns: Columns, line: Line, names: tuple[str, ...]) -> TagRow:
    split = "" if columns.split is None else _cell(line, columns.split)
    return TagRow(_cell(line, columns.image), names, SPLITS.get(split.lower(), split), line[0])


def _cell(line: Line, index: int) -> str:
    return bare(line[1][index]) if index < len(line[1]) else ""


def _merged(path: Path, rows: Sequence[TagRow]) -> list[TagRow]:
    """One row for each image: a table may have a row for each tag."""
    merged: dict[str, TagRow] = {}
    lists = {row.line for row in rows if len(row.names) > 1}
    for row in rows:
        before = merged.setdefault(row.image, row)
        if before is row:
            continue
        if row.line in lists or before.line in lists:
            raise UserError(
                f"{path}, line {row.line}: {row.image} is listed twice (line {before.line}); keep one row, "
                "or write one row for each tag"
            )
        if row.split != before.split:
            raise UserError(
                f"{path}, line {row.line}: {row.image} is in split {row.split!r} here and in "
                f"{before.split!r} in line {before.line}; an image belongs to one split"
            )
        merged[row.image] = replace(before, names=tuple(dict.fromkeys((*before.names, *row.names))))
    return list(merged.values())
