"""YAML files with the line of each key, and values as people write them in YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tag2mask.core.errors import UserError
from tag2mask.core.layers import Layer, Setting, flatten

_FIRST = "-+0123456789"
"""What a number begins with."""
_TEXT = re.compile(r"[-+]?\d+(:\d+)+(\.\d*)?$|[-+]?0\d+$|\d{4}-\d\d?-\d\d?([Tt \t].*)?$")
"""Times, numbers that begin with 0 (of an account) and dates: texts, which YAML 1.1 reads as other things."""
_PARTS = ("recipes", "steps", "backbones", "budgets", "data", "logger")


class _Loader(yaml.SafeLoader):
    """YAML where 1e-3 is a number, 8:00:00, 0123 and 2026-11-28 texts; in YAML 1.1 28800, 83 and a date.

    No part holds itself.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._open: list[str | None] = []

    def compose_node(self, parent: Any, index: Any) -> Any:
        """As the base class's, but for an alias of the part that it stands in, which would have no end."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) and event.anchor in self._open:
            where = f"line {event.start_mark.line + 1}"  # type: ignore[union-attr]
            raise yaml.YAMLError(f"{where}: *{event.anchor} stands inside of &{event.anchor}")
        self._open.append(event.anchor if isinstance(event, yaml.NodeEvent) else None)
        node = super().compose_node(parent, index)
        self._open.pop()
        return node


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list(_FIRST)
)
for _first in _FIRST:  # ahead of the numbers and dates: settings go into JSON, which has no dates
    _Loader.yaml_implicit_resolvers[_first].insert(0, ("tag:yaml.org,2002:str", _TEXT))
for _kind in ("timestamp", "binary", "set", "omap", "pairs"):  # of a tag, such as !!set: no plain values
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_undefined)  # type: ignore[type-var]


@dataclass(frozen=True)
class Page:
    """A YAML file that holds a mapping.

    Attributes:
        path: the file.
        plain: its content.
        lines: line of each key, by its path with dots.
    """

    path: Path
    plain: dict[str, Any]
    lines: Mapping[str, int]

    def where(self, key: object) -> str:
        """``recipes/psa.yaml:12``: the line of a key, or of the nearest key around it.

        A file that lies in no ``conf`` folder is named with its whole path.
        """
        named = str(key)
        while named and named not in self.lines:
            named = named.rpartition(".")[0]
        folder = self.path.parent
        short = folder.name in _PARTS and folder.parent.name.lstrip("_") == "conf"
        name = f"{folder.name}/{self.path.name}" if short else str(self.path)
        return name + (f":{self.lines[named]}" if named else "")

    def settings(self, value: Any, prefix: str) -> Layer:
        """Settings of a part of the page.

        Args:
            value: the part, a mapping; its keys may be paths with dots.
            prefix: path of the part in the page, for the lines.
        """
        if not isinstance(value, Mapping):
            raise UserError(f"{self.where(prefix)}: {prefix} must be a mapping of settings, got {value!r}")
        return {
            path: Setting(item, self.where(f"{prefix}.{path}".lstrip("."))) for path, item in flatten(value)
        }


def read_page(path: Path) -> Page:
    """Read a YAML file that holds a mapping (an empty file holds an empty one).

    Raises:
        UserError: the file is missing, is not YAML, holds something else, or gives a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node, plain = yaml.compose(text, Loader=_Loader), yaml.load(text, Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: a date with a 40th day, say; RecursionError: lists in lists without end
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if plain is None:
        return Page(path, {}, {})
    if not isinstance(plain, dict):
        raise UserError(f"{path} must hold keys and values, not {type(plain).__name__}")
    lines: dict[str, int] = {}
    for key, line in _key_lines(node):
        if key in lines:
            raise UserError(f"{path}:{line}: {key} is given twice, first in line {lines[key]}; remove one")
        lines[key] = line
    return Page(path, plain, lines)


def setting_text(value: Any) -> str:
    """A value as YAML on one line, as people write it.

    Example:
        >>> setting_text([0.5, 1.0]), setting_text(None), setting_text({"lr": 0.1})
        ('[0.5, 1.0]', 'null', '{lr: 0.1}')
    """
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n...\n").strip()


def parse_value(text: str, what: str) -> Any:
    """A value of the command line, read as YAML.

    Args:
        text: the value as typed.
        what: the option, for the message.

    Raises:
        UserError: it is not valid YAML.

    Example:
        >>> parse_value("1e-3", "--x"), parse_value("[1, 2]", "--x"), parse_value("null", "--x")
        (0.001, [1, 2], None)
        >>> parse_value("6e2f", "--x"), parse_value("8:00:00", "--x")
        ('6e2f', '8:00:00')
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{what}: cannot read the value {text!r} as YAML") from error


def yaml_value(text: str) -> Any:
    """A text read as YAML; the text itself where it is none.

    Example:
        >>> yaml_value("[1, 2]"), yaml_value("[1, 2")
        ([1, 2], '[1, 2')
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        return text


def _key_lines(node: Any, prefix: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = f"{prefix}{key.value}"
            yield path, key.start_mark.line + 1
            yield from _key_lines(value, f"{path}.")
