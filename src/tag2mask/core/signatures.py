"""Which arguments a class takes, and of which types, read from its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union

from tag2mask.core.python_source import ClassSource, contents_of, find_class

_PLAIN: dict[str, Any] = {
    "int": int, "float": float, "str": str, "bool": bool, "Path": Path, "list": list, "dict": dict,
}  # fmt: skip
_LISTS = ("list", "List", "Sequence", "Collection", "Iterable")
_MAPPINGS = ("dict", "Dict", "Mapping")
_ALIASES_DEEP = 6


@dataclass(frozen=True)
class Argument:
    """An argument of a constructor.

    Attributes:
        type: what it takes, `Any` for whatever the source does not tell.
        fields: name -> type of each field, where the argument is a dataclass.
    """

    type: Any = Any
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Signature:
    """The arguments of a class.

    Attributes:
        arguments: by name.
        complete: whether the class takes no others.
    """

    arguments: Mapping[str, Argument]
    complete: bool


@cache
def signature_of(module: str, name: str) -> Signature | None:
    """Arguments of the constructor of a class; None if its source is not found.

    Where the constructor passes further arguments on (``**more``), those of its base are arguments too.

    Args:
        module: a module that defines the class or imports it.
        name: the class.

    Raises:
        UserError: a module on the way is not valid Python.
    """
    found = find_class(module, name)
    return _signature(found) if found else None


def _signature(found: ClassSource) -> Signature:
    init = next((n for n in found.node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    known: dict[str, Argument] = {}
    if init is None and _is_dataclass(found.node):
        known = {name: Argument(kind) for name, kind in _own_fields(found)}
    if init is not None:
        for argument in [*init.args.args[1:], *init.args.kwonlyargs]:
            fields = dict(_fields(found.module, argument.annotation))
            known[argument.arg] = Argument(type_of(found.module, argument.annotation), fields)
        if init.args.kwarg is None:
            return Signature(known, complete=True)
    complete = True
    for base in found.node.bases:
        parent = _named(found.module, base)
        more = _signature(parent) if parent else Signature({}, complete=False)
        complete = complete and more.complete
        known = {**more.arguments, **known}
    return Signature(known, complete)


def _fields(module: str, annotation: ast.expr | None) -> Iterator[tuple[str, Any]]:
    """Fields of the dataclass that an annotation names."""
    for node in ast.walk(annotation) if annotation else ():
        found = _named(module, node)
        if found and _is_dataclass(found.node):
            for base in found.node.bases:
                yield from _fields(found.module, base)
            yield from _own_fields(found)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.dump(d) for d in node.decorator_list)


def _own_fields(found: ClassSource) -> Iterator[tuple[str, Any]]:
    for item in found.node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            yield item.target.id, type_of(found.module, item.annotation)


def _named(module: str, node: ast.AST) -> ClassSource | None:
    return find_class(module, node.id) if isinstance(node, ast.Name) else None


def type_of(module: str, node: ast.expr | None, depth: int = 0) -> Any:
    """The type that an annotation stands for, made of plain types; `Any` for every other one.

    Args:
        module: where the annotation is written: names are looked up there.
        node: the annotation, None for none.
        depth: how many names of types have been looked up on the way.
    """
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str(text)):
            return type_of(module, ast.parse(text, mode="eval").body, depth)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[type_of(module, left, depth), type_of(module, right, depth)]  # noqa: UP007
        case ast.Name(id=name):
            return _PLAIN[name] if name in _PLAIN else _alias(module, name, depth)
        case ast.Subscript(value=ast.Name(id=name), slice=inner):
            return _generic(module, name, inner, depth)
    return Any


def _alias(module: str, name: str, depth: int) -> Any:
    """The type behind ``Name = Literal[...]`` in a module, or where the module has the name from."""
    contents = contents_of(module)
    if contents is None or depth > _ALIASES_DEEP:
        return Any
    if name in contents.values:
        return type_of(module, contents.values[name], depth + 1)
    home = contents.imports.get(name)
    return _alias(*home, depth + 1) if home else Any


def _generic(module: str, name: str, inner: ast.expr, depth: int) -> Any:
    """A type with brackets."""
    if name == "Literal":
        try:
            return _of(Literal, ast.literal_eval(inner))
        except ValueError:  # members of an enumeration
            return Any
    words = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name == "tuple" and isinstance(words[-1], ast.Constant) and words[-1].value is ...:
        name, words = "Sequence", words[:1]
    kinds = tuple(type_of(module, word, depth) for word in words)
    if name in ("Union", "Optional"):
        return _of(Union, kinds if name == "Union" else (*kinds, None))
    if name in _LISTS:
        return _of(Sequence, kinds[0])
    if name == "tuple":
        return _of(tuple, kinds)
    return _of(dict, kinds) if name in _MAPPINGS and len(kinds) == 2 else Any


def _of(generic: Any, inner: Any) -> Any:
    """``generic[inner]``, of types that no type checker knows."""
    return generic[inner]
