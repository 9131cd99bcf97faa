"""Data sets by description, ``{"class_path", "init_args"}``: which class it names, and the set itself."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from tag2mask.artifacts.run_folder import data_of_now
from tag2mask.core import UserError
from tag2mask.core.plugins import is_trusted
from tag2mask.core.python_source import split_path


class _Describable(Protocol):
    renamed: ClassVar[Mapping[str, str]]


Described = TypeVar("Described", bound=_Describable)


def make_described(
    base: type[Described], plain: Mapping[str, Any], own: bool, origin: str | Path
) -> Described:
    """What a description describes; see `tag2mask.data.ImageSet.from_description`.

    Args:
        base: the class that the described one must be derived from.
        plain: the description.
        own: any module may be imported for it.
        origin: folder of the step whose manifest holds it, "" for none.

    Raises:
        UserError: as there.
    """
    plain = data_of_now(origin, plain) if origin else plain
    path = str(plain.get("class_path", ""))
    given = plain.get("init_args", {})
    where = f"manifest of {origin}: " if origin else ""
    try:
        cls = class_of(base, path, own)
        return cls(**{cls.renamed.get(name, name): value for name, value in given.items()})
    except UserError as error:
        raise UserError(f"{where}{error}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{where}data set {path}: an argument is of a wrong kind ({error})") from None


def class_of(base: type[Described], path: str, own: bool) -> type[Described]:
    """The class of a dotted path.

    Args:
        base: the class that it must be derived from.
        path: of the class.
        own: the user gave it, so any module may be imported.

    Raises:
        UserError: there is no such class, it is of another kind, or its module may not be imported.
    """
    module, name = split_path(path)
    # What this process has loaded already runs no code when it is asked for again.
    if module and not (own or module in sys.modules or is_trusted(module)):
        raise UserError(
            f"{path!r} is not a data set of tag2mask or of a package that registered itself, and a file of a "
            "run may name no other; if you trust it, register its package "
            "(entry point tag2mask.recipes) or give --data-class"
        )
    try:
        cls = getattr(import_module(module), name) if module else None
    except (ImportError, AttributeError, TypeError, ValueError):  # the last two: '..' and other odd names
        cls = None
    if not (isinstance(cls, type) and issubclass(cls, base)):
        wanted = f"{base.__module__}.{base.__qualname__}"
        raise UserError(f"{path!r} is not a data set: class_path must name a subclass of {wanted}")
    return cls
