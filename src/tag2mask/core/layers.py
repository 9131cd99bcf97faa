"""Settings by their paths, which know where they come from, and layers of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Setting(NamedTuple):
    """A value of a resolved configuration.

    Attributes:
        value: a plain value; a list counts as one value.
        origin: file and line, or what else has set it.
    """

    value: Any
    origin: str


Layer = dict[str, Setting]
"""Settings by their path, e.g. ``model.init_args.optimization.lr``."""


def flatten(plain: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``("a.b.c", value)`` for every value of a nested mapping.

    Example:
        >>> list(flatten({"a": {"b": 1, "c": {}}, "d.e": [2]}))
        [('a.b', 1), ('a.c', {}), ('d.e', [2])]
    """
    for key, value in plain.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nest(settings: Mapping[str, Setting]) -> dict[str, Any]:
    """The nested mapping of flat settings."""
    total: dict[str, Any] = {}
    for path, setting in settings.items():
        *head, last = path.split(".")
        node = total
        for key in head:
            node = node.setdefault(key, {})
        node[last] = setting.value
    return total


def value_at(plain: object, path: str, default: Any = None) -> Any:
    """A value of nested mappings by its path with dots.

    Example:
        >>> value_at({"a": {"b": 1}}, "a.b"), value_at({"a": None}, "a.b", 2)
        (1, 2)
    """
    for key in path.split("."):
        if not isinstance(plain, Mapping) or key not in plain:
            return default
        plain = plain[key]
    return plain


def overlay(*layers: Mapping[str, Setting]) -> Layer:
    """Layers of settings in one, the later ones win.

    Mappings are merged; lists and plain values are replaced as a whole. The arguments of an optimiser
    (``optimizer_args``) hold for this optimiser only: a layer that names another one drops them.
    """
    total: Layer = {}
    for layer in layers:
        for path, setting in layer.items():
            if path.endswith(".optimizer") and path in total and total[path].value != setting.value:
                _drop(total, f"{path}_args")
        for path, setting in layer.items():
            _put(total, path, setting)
    return total


def _put(total: Layer, path: str, setting: Setting) -> None:
    if setting.value == {} and any(known.startswith(f"{path}.") for known in total):
        return  # merging nothing
    parent = path
    while "." in parent:
        parent = parent.rpartition(".")[0]
        total.pop(parent, None)
    if path not in total:
        _drop(total, path)
    total[path] = setting


def _drop(total: Layer, path: str) -> None:
    for known in [k for k in total if k == path or k.startswith(f"{path}.")]:
        del total[known]
