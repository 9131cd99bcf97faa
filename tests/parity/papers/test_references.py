"""Sections and equations that docstrings name are those of the papers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[3] / "src" / "tag2mask"
PAPERS: dict[str, tuple[set[str], int]] = {
    r"Ahn and Kwak,? (?:CVPR )?2018": (
        {"3.1", "3.2", "3.2.1", "3.2.2", "3.3", "3.4", "4.1", "4.2", "5.1", "5.2"}, 12,
    ),
    r"Chang et al\.,? (?:\(?CVPR )?2020": ({"3.1", "3.2", "3.3", "4.1", "4.2", "4.3", "4.4"}, 3),
    r"Zhang et al\.,? (?:AAAI )?2020": (set(), 14),  # its sections have no numbers
    r"Wang et al\.,? (?:IJCV )?2020": (
        {"3.1", "3.2", "3.2.1", "3.2.2", "3.3", "4.1", "4.2", "4.3", "4.4", "4.5", "4.5.4"}, 11,
    ),
    r"Ke and Hsu,? 2018": ({"3", "3.1", "3.2", "3.3", "3.4", "3.5", "4.1", "4.2", "4.3"}, 14),
    r"Ahn(?:, Cho and Kwak| et al\.), CVPR 2019": (
        {"3", "4.1", "4.2", "4.3", "4.4", "4.5", "5", "5.1", "5.2"}, 13,
    ),
}  # fmt: skip
"""How a paper is named -> its sections, and its last equation."""
BEHIND = r"(?:\s*\(|,)?\s*(section|equations?|eq\.)\s+([\d.]+\d|\d)(?:(?:\s+(?:to|and)|,)\s+(\d+))?"


def named(paper: str) -> list[tuple[str, str, str]]:
    """File, kind and number of each section and equation that stands right behind the paper's name."""
    found = []
    for path in sorted(SOURCES.rglob("*.py")):
        for hit in re.finditer(paper + BEHIND, " ".join(path.read_text(encoding="utf-8").split())):
            found += [(path.name, hit[1], number) for number in (hit[2], hit[3]) if number]
    return found


@pytest.mark.parametrize("paper", PAPERS)
def test_named_sections_and_equations_exist(paper: str) -> None:
    sections, last = PAPERS[paper]
    found = named(paper)
    assert found
    for file, kind, number in found:
        right = number in sections if kind == "section" else 1 <= int(number) <= last
        assert right, f"{file}: {kind} {number}"


def test_what_irn_says_of_boundaries() -> None:
    """Equation 7 has the affinity of a pair, 8 its loss; 4.4 is their section."""
    found = named(r"Ahn(?:, Cho and Kwak| et al\.), CVPR 2019")
    assert {number for _, kind, number in found if kind != "section"} == {"7", "8"}
    assert ("paths.py", "section", "4.4") in found and ("boundary.py", "section", "4.1") in found
