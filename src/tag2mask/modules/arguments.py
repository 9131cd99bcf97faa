"""The arguments of a constructor as plain values, for checkpoints and loggers, and back again."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from inspect import Parameter
from types import FrameType
from typing import Any, get_type_hints

from pytorch_lightning.utilities.parsing import collect_init_args

from tag2mask.core import UserError

_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


def constructor_arguments(frame: FrameType | None, base: type, made: type) -> dict[str, Any]:
    """What the object that is being made was called with, in plain types.

    Args:
        frame: the running constructor of `base`.
        base: the class at the root of the constructors to look at.
        made: the class of the object.

    Returns:
        name -> plain value for every argument of the constructor of `made`, defaults included. Where it
        passes further arguments on (``**more``), those of its parents too.
    """
    if frame is None:
        raise RuntimeError("this Python keeps no frames, so arguments cannot be saved")
    given: dict[str, Any] = {}
    for level in collect_init_args(frame, [], classes=(base,)):
        given.update(level)
    names = _argument_hints(made, base)
    return {name: to_plain(value) for name, value in given.items() if name in names}


def to_plain(value: Any) -> Any:
    """Dataclasses as dicts, sequences as lists, paths as text; plain values as they are.

    Raises:
        TypeError: something else, which a checkpoint of plain values cannot hold.

    Example:
        >>> to_plain({"scales": (0.5, 1.0), "name": None})
        {'scales': [0.5, 1.0], 'name': None}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"an argument of type {type(value).__name__} cannot be saved as a plain value")


def from_plain(plain: Mapping[str, Any], base: type, made: type) -> dict[str, Any]:
    """The inverse of `constructor_arguments`: dicts become the dataclasses of the arguments' hints.

    Args:
        plain: the saved arguments.
        base: see `constructor_arguments`.
        made: the class to be made.

    Raises:
        UserError: the class, or one of these dataclasses, has no such argument.
    """
    hints = _argument_hints(made, base)
    try:
        return {
            name: hints[name](**value) if is_dataclass(hints[name]) and value is not None else value
            for name, value in plain.items()
        }
    except (KeyError, TypeError) as error:
        raise UserError(
            f"the saved arguments do not fit {made.__name__} ({error}): another version of it made them"
        ) from error


def _argument_hints(made: type, base: type) -> dict[str, Any]:
    """Name -> type of the arguments of a class, with those of its parents where it passes them on."""
    hints: dict[str, Any] = {}
    for kind in made.__mro__:
        if "__init__" not in vars(kind) or not issubclass(kind, base):
            continue
        constructor = vars(kind)["__init__"]
        found = get_type_hints(constructor)
        parameters = inspect.signature(constructor).parameters.values()
        own = {p.name: found[p.name] for p in parameters if p.kind in _NAMED and p.name in found}
        hints = own | hints
        if not any(p.kind is Parameter.VAR_KEYWORD for p in parameters):
            break
    return hints
