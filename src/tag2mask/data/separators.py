"""Which character separates the class names in a cell, found by looking at the whole column."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

from tag2mask.core import UserError

NONE, SPACE = "none", "space"
_WORDS = {NONE: "", SPACE: " ", "comma": ",", "semicolon": ";", "tab": "\t"}
_CLEAR = (";", "|", ",", "\t", "\n")
"""Characters that class names do not hold: where one occurs, it separates."""
_DOUBTFUL = ("/", "+", "&")
"""Characters that separate for some and are part of a name for others."""
_COMBINED = 1.5
"""Different cells for each different word, from which cells with spaces are taken for lists of names."""
_BLANK = r"[\s\u200b\u200e\u200f\u202a\u202c\u2060\ufeff]+"
"""Spaces, and the marks of width zero and of direction that copied text brings along."""
_BRACKETS = ("[]", "()", "{}")
_QUOTED = re.compile(r'"([^"]*)"|\'([^\']*)\'')

Names = Literal["one", "perhaps one", "many"]
"""What a cell of a column holds, as far as the other columns and the heading tell."""


def bare(text: str) -> str:
    """A text without spaces and invisible marks around it."""
    return re.sub(f"^{_BLANK}|{_BLANK}$", "", text)


def opens_list(cell: str) -> bool:
    """Whether a cell begins as lists do that Python, JSON or a database wrote; names may begin with ``(``."""
    text = bare(cell)
    return text[:1] in ("[", "{") or text[:2] in ("('", '("', "()")


def clean_name(text: str) -> str:
    """A class name without quotes and spaces around it, with single spaces, in Unicode's composed form."""
    return " ".join(unicodedata.normalize("NFC", bare(_unquoted(bare(text)))).split())


def _unquoted(text: str) -> str:
    """The text without quotes around it; those at an end whose partner is inside belong to the name."""
    core = text.strip("\"'")
    around = text.replace(core, "", 1)
    paired = any(0 < around.count(sign) <= core.count(sign) for sign in "\"'")
    return text if paired else core


def split_cell(cell: str, separator: str) -> tuple[str, ...]:
    """The distinct names of one cell, in their order.

    Args:
        cell: the text, perhaps in brackets as programs write lists, tuples and sets.
        separator: one or more characters; ``""`` takes the whole cell for one name.
    """
    text = bare(cell)
    if opens_list(text) and text[:1] + text[-1:] in _BRACKETS:
        text, separator = text[1:-1], ","
        if quoted := _QUOTED.findall(text):
            return tuple(dict.fromkeys(name for pair in quoted if (name := clean_name("".join(pair)))))
    parts = text.split(separator if separator.strip() else None) if separator else [text]
    return tuple(dict.fromkeys(name for part in parts if (name := clean_name(part))))


def find_separator(
    cells: Sequence[str], given: str | None, known: Collection[str] | None, where: str, holds: Names = "many"
) -> str:
    """The separator of a column of tags; ``""`` if each cell is one name.

    Args:
        cells: the whole column.
        given: the data set's argument `separator`: a character or the word none, space, comma, semicolon
            or tab; None looks for it.
        known: the class names, if they are given: they settle most doubts.
        where: file and column, for the message.
        holds: how many names a cell should hold.

    Raises:
        UserError: the column can be read in two ways.
    """
    if given is not None:
        return _WORDS.get(given, given)
    plain = [cell for cell in cells if bare(cell) and not opens_list(cell)]
    if known is not None:
        fitting = [s for s in ("", *_CLEAR, *_DOUBTFUL, " ") if _all_known(plain, s, known)]
        if fitting and len({_reading(plain, s) for s in fitting}) == 1:
            return fitting[0]
        if not fitting:  # the unknown name is reported with its line by who asked
            return max(("", *_CLEAR, *_DOUBTFUL, " "), key=lambda s: _count_known(plain, s, known))
    clear = [s for s in _CLEAR if any(s in cell.strip() for cell in plain)]
    if len(clear) > 1:
        example = next(cell for cell in plain if clear[0] in cell)
        raise _question(where, example, f"both {clear[0]!r} and {clear[1]!r} occur in it", clear)
    if clear:
        return clear[0]
    return _without_clear(plain, where, holds)


def _without_clear(cells: Sequence[str], where: str, holds: Names) -> str:
    names = {clean_name(cell) for cell in cells}
    for sign in _DOUBTFUL:
        for cell in sorted(names):
            parts = split_cell(cell, sign)
            if len(parts) > 1 and any(part in names for part in parts):
                raise _question(where, cell, f"{sign!r} may separate two names", (sign, NONE))
    spaced = sorted(name for name in names if " " in name)
    if not spaced:
        return ""
    alone = [all(word in names for word in name.split()) for name in spaced]
    if holds == "many" and (all(alone) or _are_combinations(names)):
        return " "
    some = [any(word in names for word in name.split()) for name in spaced]
    if (holds == "one" and not any(alone)) or (holds == "perhaps one" and not any(some)):
        return ""
    example = spaced[alone.index(False)] if False in alone else spaced[0]
    raise _question(where, example, "is it one name with a space, or several names", (SPACE, NONE))


def _all_known(cells: Iterable[str], separator: str, known: Collection[str]) -> bool:
    return all(name in known for cell in cells for name in split_cell(cell, separator))


def _are_combinations(names: Collection[str]) -> bool:
    """Whether cells are so many combinations of so few words that they can only be lists of names."""
    words = {word for name in names for word in name.split()}
    return len(names) >= _COMBINED * len(words) and 2 * len(words & set(names)) >= len(words)


def _count_known(cells: Iterable[str], separator: str, known: Collection[str]) -> int:
    return sum(name in known for cell in cells for name in split_cell(cell, separator))


def _reading(cells: Iterable[str], separator: str) -> tuple[tuple[str, ...], ...]:
    return tuple(split_cell(cell, separator) for cell in cells)


def _question(where: str, example: str, doubt: str, options: Sequence[str]) -> UserError:
    choices = " or ".join(f"separator: {option if option.isalpha() else repr(option)}" for option in options)
    return UserError(
        f"{where} holds {example!r}, and it is not clear which names these are ({doubt}): separate names "
        f"with ';', or set {choices} in the data set's YAML or for data import "
        f"({NONE}: one name in each cell)"
    )
