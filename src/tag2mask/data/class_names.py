"""Class names that look as if they were meant to be one."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

from tag2mask.core import UserError

_NO_CLASS = ("background", "none", "nan", "null", "n/a", "na", "-", "no", "unlabeled", "unlabelled")
_MOST_NAMES = 300
"""Every pair of names is compared; with more names than these the search takes longer than it helps."""
_ALIKE = 0.85
"""Ratio of `difflib.SequenceMatcher` from which two names are taken for one with a typing error."""


def require_texts(values: Sequence[object] | None, name: str) -> None:
    """Refuse what YAML does not read as a list of texts: ``[1, no]`` is a number and a false.

    Args:
        values: as read.
        name: the argument, for the message.

    Raises:
        UserError: a value is no text, or there is one text in place of a list.
    """
    if isinstance(values, str):
        raise UserError(f"{name} must be a list, got {values!r}: write [{values}]")
    for value in values or ():
        if not isinstance(value, str):
            kind = type(value).__name__
            raise UserError(
                f'{name} holds {value!r}, read as {kind} and not as text: write it in quotes, as "1" or "no"'
            )


def require_distinct_names(names: Iterable[str], where: str) -> None:
    """Refuse names that differ by case, spaces or dashes only, and words that mean that there is no class.

    Raises:
        UserError: two names look alike, or one is a word like background.
    """
    seen: dict[str, str] = {}
    for name in sorted(names):
        if name.lower() in _NO_CLASS:
            raise UserError(
                f"{where} has the tag {name!r}, which is no class: take it out; images that show none of the "
                "classes have no tags, and need untagged: negative in the data set's YAML (tag2mask data "
                f"import --negative {shlex.quote(name)} makes such a data set)"
            )
        other = seen.setdefault(_key(name), name)
        if other != name:
            raise UserError(
                f"{where} has the tags {other!r} and {name!r}, which look like one class: write one of them "
                "everywhere, or list both under classes in the data set's YAML if they are two"
            )


def similar_names(counts: Mapping[str, int]) -> list[str]:
    """Sentences on names that may be one class: singular and plural, or a typing error.

    Args:
        counts: number of images for each class name.
    """
    names = sorted(counts)
    if len(names) > _MOST_NAMES:
        return []
    return [
        f"{a!r} ({counts[a]} images) and {b!r} ({counts[b]}) look alike: "
        "if they are one class, write one name everywhere"
        for index, a in enumerate(names)
        for b in names[index + 1 :]
        if _look_alike(a, b)
    ]


def numbered_names(names: Iterable[str]) -> list[str]:
    """A sentence on classes that have numbers for names, which may be places in a list of names."""
    known = sorted(set(names))
    if not known or not all(name.isdecimal() for name in known):
        return []
    shown = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
    return [f"the tags are numbers, taken as names of classes: {shown}; if they stand for names, write those"]


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


def _look_alike(a: str, b: str) -> bool:
    a, b = a.casefold(), b.casefold()
    if b in (f"{a}s", f"{a}es") or a in (f"{b}s", f"{b}es"):
        return True
    if re.sub(r"\d", "", a) == re.sub(r"\d", "", b):
        return False  # class_1 and class_2 are meant to differ
    if sorted(a) == sorted(b):
        return _are_swapped(a, b)
    return min(len(a), len(b)) >= 5 and difflib.SequenceMatcher(None, a, b).ratio() >= _ALIKE


def _are_swapped(a: str, b: str) -> bool:
    """Whether two words of the same letters differ by two neighbours that changed places."""
    places = [i for i, (one, other) in enumerate(zip(a, b, strict=True)) if one != other]
    return len(places) == 2 and places[1] == places[0] + 1
