"""README and docs/: rows of results hold what their file holds; tables and links are whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

RESULTS = ROOT / "benchmarks" / "results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMED = re.compile(r"`?([\w-]+)\.md`?")
RULE = re.compile(r"\|[-:| ]*-[-:| ]*\|")


def text_of(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def rows() -> Iterator[tuple[str, str, str]]:
    """(page, kept result, row) of each row whose last cell is the name of one file."""
    for page in PAGES:
        for line in text_of(page).splitlines():
            named = NAMED.fullmatch(line.strip("| ").rsplit("| ", 1)[-1]) if line.startswith("|") else None
            if named and (RESULTS / f"{named[1]}.md").exists():
                yield str(page.relative_to(ROOT)), named[1], line


def numbers(name: str) -> set[str]:
    """The decimals of a kept result: those of its table, and those of its JSON as a table would have them."""
    found = set(re.findall(r"\d+\.\d+", (RESULTS / f"{name}.md").read_text(encoding="utf-8")))
    return found | set(_rounded(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))))


def _rounded(value: Any) -> Iterator[str]:
    if isinstance(value, float):
        yield f"{value:.1f}"
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _rounded(part)


def test_rows_of_results_hold_what_the_file_holds() -> None:
    known = {name: numbers(name) for _, name, _ in rows()}
    every = [(page, name, re.sub(r"`[^`]*`", "", row)) for page, name, row in rows()]
    assert len(every) > 40
    # the threshold of the maps and the like stand in headings: a row has scores, with one decimal
    lost = [
        (page, name, number)
        for page, name, row in every
        for number in re.findall(r"(?<![\w.])\d+\.\d\b(?!\.)", row)
        if number not in known[name] and "GB" not in row
    ]
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_results_that_a_page_names_are_kept(page: Path) -> None:
    named = re.findall(r"([\w-]+-voc-animals|bench-\w+|\w+-cpu|gpu-[\w-]+)\.(?:md|json)", text_of(page))
    assert [name for name in named if not (RESULTS / f"{name}.md").exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_and_links_are_whole(page: Path) -> None:
    """A table right below a sentence was a sentence on the site; mkdocs does not look at README's links."""
    lines = text_of(page).splitlines()
    glued = [
        lines[at - 1]
        for at, line in enumerate(lines)
        if at > 1 and RULE.fullmatch(line) and lines[at - 2].strip() and not RULE.fullmatch(lines[at - 1])
    ]
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", text_of(page))
    assert glued == [] and [link for link in links if not (page.parent / link).exists()] == []
