"""Python modules as source text: which classes they have, found without importing them."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import NamedTuple

from tag2mask.core.errors import UserError

_MODULES_DEEP = 12


class ClassSource(NamedTuple):
    """A class and the module that defines it."""

    module: str
    node: ast.ClassDef


def split_path(class_path: str) -> tuple[str, str]:
    """``package.module.Class`` -> module and class."""
    module, _, name = class_path.rpartition(".")
    return module, name


class Contents(NamedTuple):
    """What a module has.

    Attributes:
        classes: its own classes by name.
        imports: name -> module and name there, of ``from module import name``.
        values: name -> what it is set to.
        names: every name; None where there may be others.
    """

    classes: dict[str, ast.ClassDef]
    imports: dict[str, tuple[str, str]]
    values: dict[str, ast.expr]
    names: set[str] | None


@cache
def find_class(module: str, name: str, depth: int = 0) -> ClassSource | None:
    """The class of that name in a module, or where the module has it from; None if it is not found.

    Raises:
        UserError: a module on the way is not valid Python.
    """
    contents = contents_of(module)
    if contents is None or depth > _MODULES_DEEP:
        return None
    if name in contents.classes:
        return ClassSource(module, contents.classes[name])
    home = contents.imports.get(name)
    return find_class(*home, depth + 1) if home else None


@cache
def contents_of(module: str) -> Contents | None:
    """What a module has, from its source; None where there is no such file.

    Raises:
        UserError: it is not valid Python.
    """
    tree = _source(module)
    if tree is None:
        return None
    nodes = list(ast.walk(tree))
    imports: dict[str, tuple[str, str]] = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                imports.setdefault(alias.asname or alias.name, (node.module, alias.name))
    assigned = [n for n in tree.body if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)]
    values = {node.targets[0].id: node.value for node in assigned if isinstance(node.targets[0], ast.Name)}
    classes = {node.name: node for node in reversed(nodes) if isinstance(node, ast.ClassDef)}
    return Contents(classes, imports, values, _names(nodes, values.get("__getattr__")))


def _names(nodes: Sequence[ast.AST], finder: ast.expr | None) -> set[str] | None:
    """The names of a module, or None if it may have others."""
    names = set[str]()
    for node in nodes:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    # `lazy_names` finds nothing beyond what the package imports for type checkers
    if isinstance(finder, ast.Call) and isinstance(finder.func, ast.Name) and finder.func.id == "lazy_names":
        names.discard("__getattr__")
    return None if {"*", "__getattr__"} & names else names


def _source(module: str) -> ast.Module | None:
    for path in _files(module):
        if path.is_file():
            try:
                return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
            except (SyntaxError, ValueError) as error:  # ValueError: not UTF-8, or a null byte
                line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
                raise UserError(f"{path}{line} is not valid Python: {error}; correct it") from error
    return None


def _files(module: str) -> Iterator[Path]:
    top, *rest = module.split(".")
    spec = find_package(top)
    if spec and not rest and spec.origin and spec.origin.endswith(".py"):
        yield Path(spec.origin)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        base = Path(folder).joinpath(*rest)
        yield base / "__init__.py"
        yield base.with_name(f"{base.name}.py")


def find_package(top: str) -> ModuleSpec | None:
    """Where an outermost package lies, also in the working folder, as for a step; this imports nothing."""
    if not top:
        return None
    return importlib.util.find_spec(top) or PathFinder.find_spec(top, [str(Path.cwd())])


def modules_of(package: str) -> set[str]:
    """Names of the modules of a package, compiled ones too."""
    folders = {path.with_suffix("") for path in _files(package) if path.name != "__init__.py"}
    return {
        entry.name.partition(".")[0]
        for folder in folders if folder.is_dir()
        for entry in folder.iterdir() if not entry.name.startswith(("_", "."))
    }  # fmt: skip
