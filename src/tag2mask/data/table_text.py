"""The rows of a CSV, whatever program wrote it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from tag2mask.core import UserError
from tag2mask.data.tag_columns import Line, is_image_heading, is_image_name

_DELIMITERS = (",", ";", "\t", "|")
TABLE_SUFFIXES = (".csv", ".tsv")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_ARCHIVE = b"PK\x03\x04"
"""The first bytes of .xlsx and .ods files."""
_EXCEL = re.compile(r"[\"']?sep=([,;\t|])[\"']?")
"""A first line that tells Excel which character stands between columns."""
_SAVE = "save it as CSV in UTF-8 (in Excel: Save As, CSV UTF-8)"


def read_lines(path: Path) -> list[Line]:
    """The rows of a table that hold anything, each with the number of its line.

    The columns may be separated by commas, semicolons, tabs or bars, which the first line shows.

    Args:
        path: a CSV in UTF-8, or in UTF-16 with a byte order mark.

    Raises:
        UserError: no file, no text that can be read, a quote that is never closed, or nothing in it.
    """
    text = _text(path)
    first = next((line for line in text.split("\n") if line.strip()), "")
    told = _EXCEL.fullmatch(first.strip())
    if told:
        # an empty line stays, so that the numbers of the others do
        text = text.replace(first, "", 1)
    lines = _rows(path, text, told.group(1) if told else _delimiter(first))
    if not lines:
        raise UserError(f"{path} is empty: its first line must be like image,labels")
    return lines


def _missing(path: Path) -> UserError:
    """The error for a table that does not exist."""
    folder = path.parent
    if not folder.is_dir():
        return UserError(
            f"the folder {folder} does not exist: check --data-root (root in the data set's YAML)"
        )
    others = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in TABLE_SUFFIXES)
    if others:
        return UserError(
            f"{path} does not exist, but {', '.join(others[:3])} does: "
            f"give the table of tags with --tags {folder / others[0]}, or rename it"
        )
    return UserError(
        f"{path} does not exist: write a table of image,labels there; or, if {folder} holds a folder for "
        f"each class, JSON or XML files, let tag2mask data import {folder} make the data set"
    )


def _text(path: Path) -> str:
    """The file's text, with plain ends of lines."""
    if not path.exists():
        raise _missing(path)
    try:
        data = path.read_bytes()
        if data.startswith(_ARCHIVE):
            raise UserError(f"{path} is a spreadsheet or another archive, not a CSV: {_SAVE}")
        text = data.decode("utf-16" if data[:2] in _UTF16 else "utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise UserError(f"{path} cannot be read as a CSV of tags ({error}): {_SAVE}") from None
    if "\0" in text:
        raise UserError(
            f"{path} has zero bytes, as files in UTF-16 without a byte order mark or damaged ones do: {_SAVE}"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _rows(path: Path, text: str, delimiter: str) -> list[Line]:
    lines: list[Line] = []
    source = text.splitlines(keepends=True)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    begin = 0
    try:
        for cells in reader:
            if _is_unclosed(cells, source[begin : reader.line_num], delimiter):
                raise UserError(
                    f"{path}, line {begin + 1}: a quote begins here that is not closed in this line: close it"
                )
            if any(cell.strip("".join(_DELIMITERS) + " ") for cell in cells):
                lines.append((reader.line_num, cells))
            begin = reader.line_num
    except csv.Error as error:
        raise UserError(f"{path}, line {begin + 1} cannot be read as a CSV ({error}): {_SAVE}") from None
    return lines


def _is_unclosed(cells: Sequence[str], source: Sequence[str], delimiter: str) -> bool:
    """Whether a cell goes on behind its line because its quote is not closed.

    A quoted cell may have several lines. One that is open holds the rest of the file, or rows up to the
    next quote.
    """
    further = [line for cell in cells for line in cell.split("\n")[1:]]
    if any(delimiter in line and is_image_name(line.split(delimiter)[0]) for line in further):
        return True
    try:
        return bool(further) and not list(csv.reader(source, delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "unexpected end" in str(error)


def _delimiter(first: str) -> str:
    """The character between columns, by the first line."""
    fitting = [
        sign
        for sign in _DELIMITERS
        if sign in first
        and any(is_image_heading(c) or is_image_name(c) for c in (s.strip('" ') for s in first.split(sign)))
    ]
    return fitting[0] if fitting else max(_DELIMITERS, key=first.count)
