"""The shape of the source: small files, short argument lists, no import circle, a picture that is true."""

from __future__ import annotations

import ast
import runpy
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "tag2mask"
LONGEST_FILE, MOST_ARGUMENTS = 300, 10


def constructors() -> Iterator[tuple[str, int]]:
    """Each ``__init__`` of the source, and how many arguments it has beside self."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                    given = method.args
                    count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs) - 1
                    yield f"{path.relative_to(SOURCE)}: {node.name}", count


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCE.rglob("*.py")}
    assert len(lengths) > 100
    assert {str(path): n for path, n in lengths.items() if n > LONGEST_FILE} == {}


def test_no_constructor_has_many_arguments() -> None:
    counts = dict(constructors())
    assert len(counts) > 50
    assert {name: n for name, n in counts.items() if n > MOST_ARGUMENTS} == {}


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


def test_picture_of_the_architecture_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_architecture.py"))
    if (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8") != script["picture"]():
        pytest.fail("docs/architecture.svg is out of date: run `python docs/make_architecture.py`")


def _names(module: str) -> set[str]:
    """What can be imported from a module of the source: its parts, and what its text binds or says it has."""
    place = ROOT / "src" / Path(*module.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    found = {path.stem for path in place.iterdir()} if place.is_dir() else set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)  # of ``__all__``: the package imports some of its names when asked for them
    return found


def test_all_around_the_source_imports_what_is_there() -> None:
    """Also what is seldom run, as tests/gpu; docs/make_picture.py asked for a function that had moved."""
    folders = ("benchmarks", "docs", "notebooks", "stages", "tests")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    asked = [
        (path.relative_to(ROOT), node.module, alias.name)
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tag2mask"
        for alias in node.names
    ]
    assert len(asked) > 100
    known = {module: _names(module) for _, module, _ in asked}
    assert [f"{path}: {module}.{name}" for path, module, name in asked if name not in known[module]] == []
