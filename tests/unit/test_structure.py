"""The shape of the source: small files, no import circle."""

from __future__ import annotations

from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "tag2mask"
LONGEST_FILE = 300


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCE.rglob("*.py")}
    assert len(lengths) > 100
    assert {str(path): n for path, n in lengths.items() if n > LONGEST_FILE} == {}


def test_no_import_circle() -> None:
    """Not even by imports that only type checkers see. A package's ``__init__`` may import its modules."""
    graph = grimp.build_graph("tag2mask", exclude_type_checking_imports=False)
    modules = sorted(graph.modules)
    assert len(modules) > 100
    circles = [
        (module, target)
        for module in modules
        for target in graph.find_modules_directly_imported_by(module)
        if not _is_part(target, module) and graph.find_shortest_chain(target, module)
    ]
    assert circles == []


def _is_part(module: str, package: str) -> bool:
    return module.startswith(f"{package}.")
