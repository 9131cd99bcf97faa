"""Values of settings against the types of the arguments that take them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from tag2mask.core.errors import UserError, unknown_name
from tag2mask.core.layers import Setting
from tag2mask.core.pages import yaml_value

_WORDS = {
    int: "a whole number", float: "a number", str: "a text", bool: "true or false", None: "null",
    type(None): "null", Path: "a path", list: "a list", dict: "a mapping",
}  # fmt: skip


def check_value(kind: Any, what: str, setting: Setting, path: str) -> None:
    """Refuse a value that jsonargparse would refuse.

    Args:
        kind: the type of the argument.
        what: the argument and its class, for the message.
        setting: the value, and what has set it.
        path: of the setting, for the message.

    Raises:
        UserError: with the origin of the setting, and the near value where there are only some.
    """
    value = setting.value
    if value is None or fits(kind, value):
        return
    if get_origin(kind) is Literal and isinstance(value, str):
        error = unknown_name(what, value, map(str, get_args(kind)))
        raise UserError(f"{setting.origin}: {error} (in {path})")
    raise UserError(f"{setting.origin}: {what} must be {described(kind)}, got {value!r} (in {path})")


def fits(kind: Any, value: Any) -> bool:
    """Whether jsonargparse takes a value, a text also as the YAML that it may be."""
    forms = [value, yaml_value(value)] if isinstance(value, str) else [value]
    for form in forms:
        with suppress(ValidationError):
            # as JSON: there a list is a tuple too, and strict keeps numbers, texts and true or false apart
            _adapter(kind).validate_json(json.dumps(form, default=str), strict=True)
            return True
    return False


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def described(kind: Any) -> str:
    """A type in words.

    Example:
        >>> described(int | None), described(tuple[float, float]), described(Literal["psa", "all"])
        ('a whole number or null', 'a list of 2 values', "'psa' or 'all'")
        >>> described(Sequence[float])
        'a list, each a number'
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(described, inner)))
    if origin is tuple:
        return f"a list of {len(inner)} values"
    if origin is Sequence:
        return f"a list, each {described(inner[0])}"
    return _WORDS.get(origin or kind, "another value")
