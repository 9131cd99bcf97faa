"""No part of the source is a copy of another: few places share six or more lines."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "tag2mask"
SHARED_LINES, MOST_PAIRS = 6, 12


def code_lines(text: str) -> list[str]:
    """The stripped lines of a module without blank lines, imports and docstrings."""
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or isinstance(node, (ast.Import, ast.ImportFrom)):
            left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.splitlines(), 1)
    return [line.strip() for number, line in lines if line.strip() and number not in left_out]


def shared_places(modules: Mapping[str, Sequence[str]]) -> list[tuple[str, int, str, int]]:
    """Pairs of places that share at least `SHARED_LINES` lines, each pair where the shared lines begin.

    Returns:
        module and index of the line, twice.
    """
    places: defaultdict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for name, lines in modules.items():
        for start in range(len(lines) - SHARED_LINES + 1):
            places[tuple(lines[start : start + SHARED_LINES])].append((name, start))
    pairs = {(*a, *b) for found in places.values() for a, b in combinations(found, 2)}
    return sorted(p for p in pairs if (p[0], p[1] - 1, p[2], p[3] - 1) not in pairs)


def test_counter_finds_a_run_once_and_nothing_shorter() -> None:
    run = [f"x = {i}" for i in range(8)]
    assert shared_places({"a": ["p", *run], "b": [*run, "q"]}) == [("a", 1, "b", 0)]
    assert shared_places({"a": [*run, "p", *run]}) == [("a", 0, "a", 9)]
    assert shared_places({"a": run[:5], "b": run[:5]}) == []


def test_counter_leaves_out_docstrings_imports_and_blank_lines() -> None:
    text = (
        '"""What it is.\n\nMore."""\n\nfrom os import (\n    path,\n)\n'
        '\ndef f():\n    """It."""\n    return path\n'
    )
    assert code_lines(text) == ["def f():", "return path"]


def test_few_places_share_lines() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 100
    pairs = shared_places(
        {str(p.relative_to(SOURCE)): code_lines(p.read_text(encoding="utf-8")) for p in files}
    )
    if len(pairs) > MOST_PAIRS:
        pytest.fail(f"{len(pairs)} pairs of places share {SHARED_LINES} or more lines: {pairs}")
