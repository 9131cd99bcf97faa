"""Which settings a class takes, read from its source: the runner imports no torch and no class."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import NamedTuple

from tag2mask.core.errors import UserError, unknown_name
from tag2mask.core.pages import Layer, Setting, flatten

_TRAINER = "pytorch_lightning.Trainer"
_MODULES_DEEP = 12


class _Class(NamedTuple):
    module: str
    node: ast.ClassDef


def check_settings(settings: Layer, inputs: Mapping[str, str] | None = None) -> None:
    """Refuse classes that do not exist, and settings that the classes of a step do not take.

    Classes in compiled modules, and those that a module makes as it runs, are left to the stage.

    Args:
        settings: the resolved settings of a step.
        inputs: the settings that get the folders of other steps, and these steps.

    Raises:
        UserError: with the origin of the setting and the near name.
    """
    given = {k: Setting(v, f"inputs of the step, {v}") for k, v in (inputs or {}).items()}
    every = dict(_with_items({**given, **settings}))
    for path, setting in every.items():
        if path.endswith(".class_path") and isinstance(setting.value, str):
            prefix = f"{path.removesuffix('.class_path')}.init_args"
            _check_class(setting.value, setting.origin, path)
            _check_part(every, prefix, setting.value)
    _check_part(every, "trainer", _TRAINER)


def _with_items(settings: Layer) -> Iterator[tuple[str, Setting]]:
    """The settings, and those in the entries of their lists as ``path[0].name``."""
    for path, (value, origin) in settings.items():
        yield path, Setting(value, origin)
        for place, item in enumerate(value if isinstance(value, list) else ()):
            if isinstance(item, Mapping):
                inner = {f"{path}[{place}].{k}": Setting(v, origin) for k, v in flatten(item)}
                yield from _with_items(inner)


def _check_class(class_path: str, origin: str, path: str) -> None:
    module, name = _split(class_path)
    if not module or module.startswith("."):
        return  # a short name, which the stage completes
    top = module.partition(".")[0]
    if _spec(top) is None:
        raise UserError(
            f"{origin}: no package {top!r} for {class_path} (in {path}); install it or correct the name"
        )
    tree = _source(module)
    if tree is None:
        parent, _, last = module.rpartition(".")
        found = _modules(parent) if parent else set[str]()
        if found and last not in found:
            raise UserError(f"{origin}: {unknown_name(f'module of {parent}', last, found)} (in {path})")
    elif (known := _names(tree)) is not None and name not in known:
        raise UserError(f"{origin}: {unknown_name(f'class of {module}', name, known)} (in {path})")


def _names(tree: ast.Module) -> set[str] | None:
    """The names that a module defines or imports; None if it may have others."""
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return None if {"*", "__getattr__"} & names else names


def _check_part(settings: Layer, prefix: str, class_path: str) -> None:
    found = _find_class(*_split(class_path))
    known = _arguments(found) if found else None
    if known is None:
        return
    for path, setting in settings.items():
        if path.startswith(f"{prefix}."):
            first, item, rest = re.split(r"([.\[]|$)", path.removeprefix(f"{prefix}."), maxsplit=1)
            if first not in known:
                error = unknown_name(f"setting of {class_path.rpartition('.')[2]}", first, known)
                raise UserError(f"{setting.origin}: {error} (in {path})")
            group = known[first]
            if item == "." and group and rest.split(".")[0] not in group:
                error = unknown_name(f"setting of {first}", rest.split(".")[0], group)
                raise UserError(f"{setting.origin}: {error} (in {path})")


def _arguments(found: _Class) -> dict[str, dict[str, None]] | None:
    """Arguments of a class, each with the fields of its dataclass if it is one; None if not all are known."""
    init = next((n for n in found.node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    known: dict[str, dict[str, None]] = {}
    if init is None and _is_dataclass(found.node):
        known = {name: {} for name in _own_fields(found.node)}
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
        if found and _is_dataclass(found.node):
            for base in found.node.bases:
                fields |= _fields(found.module, base)
            fields |= dict.fromkeys(_own_fields(found.node))
    return fields


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.dump(d) for d in node.decorator_list)


def _own_fields(node: ast.ClassDef) -> list[str]:
    return [
        item.target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    ]


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
            try:
                return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
            except (SyntaxError, ValueError) as error:  # ValueError: not UTF-8, or a null byte
                line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
                raise UserError(f"{path}{line} is not valid Python: {error}; correct it") from error
    return None


def _files(module: str) -> Iterator[Path]:
    top, *rest = module.split(".")
    spec = _spec(top)
    if spec and not rest and spec.origin and spec.origin.endswith(".py"):
        yield Path(spec.origin)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        base = Path(folder).joinpath(*rest)
        yield base / "__init__.py"
        yield base.with_name(f"{base.name}.py")


def _spec(top: str) -> ModuleSpec | None:
    """Where an outermost package lies, also in the working folder, as for a stage; this imports nothing."""
    if not top:
        return None
    return importlib.util.find_spec(top) or PathFinder.find_spec(top, [str(Path.cwd())])


def _modules(package: str) -> set[str]:
    """Names of the modules of a package, compiled ones too."""
    folders = {path.with_suffix("") for path in _files(package) if path.name != "__init__.py"}
    return {
        entry.name.partition(".")[0]
        for folder in folders if folder.is_dir()
        for entry in folder.iterdir() if not entry.name.startswith(("_", "."))
    }  # fmt: skip


def _split(class_path: str) -> tuple[str, str]:
    module, _, name = class_path.rpartition(".")
    return module, name
