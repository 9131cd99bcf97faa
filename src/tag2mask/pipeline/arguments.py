"""Which settings a class takes, read from its source: the runner imports no torch and no class."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tag2mask.core.errors import UserError, unknown_name
from tag2mask.core.pages import Layer

_TRAINER = "pytorch_lightning.Trainer"
_MODULES_DEEP = 12


class _Class(NamedTuple):
    module: str
    node: ast.ClassDef


def check_settings(settings: Layer) -> None:
    """Refuse settings that the classes of a step do not take.

    Classes whose source is not found (compiled, or not installed) are left to the stage.

    Args:
        settings: the resolved settings of a step.

    Raises:
        UserError: with the origin of the setting and the near name.
    """
    for part in ("model", "data"):
        class_path = settings.get(f"{part}.class_path")
        if class_path is not None:
            _check_part(settings, f"{part}.init_args", str(class_path.value))
    _check_part(settings, "trainer", _TRAINER)


def _check_part(settings: Layer, prefix: str, class_path: str) -> None:
    found = _find_class(*_split(class_path))
    known = _arguments(found) if found else None
    if known is None:
        return
    for path, setting in settings.items():
        if path.startswith(f"{prefix}."):
            first, _, rest = path.removeprefix(f"{prefix}.").partition(".")
            if first not in known:
                error = unknown_name(f"setting of {class_path.rpartition('.')[2]}", first, known)
                raise UserError(f"{setting.origin}: {error} (in {path})")
            group = known[first]
            if rest and group and rest.split(".")[0] not in group:
                error = unknown_name(f"setting of {first}", rest.split(".")[0], group)
                raise UserError(f"{setting.origin}: {error} (in {path})")


def _arguments(found: _Class) -> dict[str, dict[str, None]] | None:
    """Arguments of a class, each with the fields of its dataclass if it is one; None if not all are known."""
    init = next((n for n in found.node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    known: dict[str, dict[str, None]] = {}
    if init is not None:
        for argument in [*init.args.args[1:], *init.args.kwonlyargs]:
            known[argument.arg] = _fields(found.module, argument.annotation)
        if init.args.kwarg is None:
            return known
    for base in found.node.bases:
        parent = _named(found.module, base)
        more = _arguments(parent) if parent else None
        if more is None:
            return None
        known = {**more, **known}
    return known


def _fields(module: str, annotation: ast.expr | None) -> dict[str, None]:
    """Fields of the dataclass that an annotation names; {} for everything else."""
    fields: dict[str, None] = {}
    for node in ast.walk(annotation) if annotation else ():
        found = _named(module, node) if isinstance(node, ast.Name) else None
        if found and any("dataclass" in ast.dump(d) for d in found.node.decorator_list):
            for base in found.node.bases:
                fields |= _fields(found.module, base)
            fields |= {
                item.target.id: None
                for item in found.node.body
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
            }
    return fields


def _named(module: str, node: ast.AST) -> _Class | None:
    return _find_class(module, node.id) if isinstance(node, ast.Name) else None


@cache
def _find_class(module: str, name: str, depth: int = 0) -> _Class | None:
    """The class of that name in a module, or where the module has it from."""
    tree = _source(module)
    if tree is None or depth > _MODULES_DEEP:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _Class(module, node)
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find_class(node.module, alias.name, depth + 1)
    return None


@cache
def _source(module: str) -> ast.Module | None:
    for path in _files(module):
        if path.is_file():
            return ast.parse(path.read_text(encoding="utf-8"))
    return None


def _files(module: str) -> Iterator[Path]:
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)  # of the outermost package alone, which imports nothing
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        base = Path(folder).joinpath(*rest)
        yield base / "__init__.py"
        yield base.with_name(f"{base.name}.py")


def _split(class_path: str) -> tuple[str, str]:
    module, _, name = class_path.rpartition(".")
    return module, name
