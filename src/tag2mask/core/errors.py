"""Errors that are the user's to mend."""

from __future__ import annotations

import difflib
import struct
import zlib
from collections.abc import Iterable
from tokenize import TokenError
from zipfile import BadZipFile

STOPPED_CODE = 75
"""Exit code of what a signal has stopped and what can go on (EX_TEMPFAIL: try again later)."""


UNUSABLE_CODE = 3
"""Exit code of a run that ended before a step because what it reads is of no use."""


DAMAGE: tuple[type[Exception], ...] = (
    OSError, ValueError, LookupError, TypeError, EOFError, SyntaxError, RuntimeError, ArithmeticError,
    MemoryError, BadZipFile, TokenError, zlib.error, struct.error,
)  # fmt: skip
"""What libraries raise when they read a damaged picture, archive or array."""


class UserError(Exception):
    """A mistake in what the user gave: a path, a name, a file, a value.

    The message is one sentence or two: what is wrong, which file or value, and what to do.
    Every command line prints it as ``error: ...`` without a traceback and exits with code 2.
    """


DIVERGED_WAY_OUT = (
    "predict with --trainer.precision 32, or train it again with a smaller model.init_args.optimization.lr"
)
"""What to do where a trained network gives numbers that are not finite."""


class NotFiniteError(ValueError):
    """NaN or infinity where a function needs numbers: mostly what a network gives whose training diverged."""


def unknown_name(kind: str, name: object, known: Iterable[str], hint: str = "") -> UserError:
    """A `UserError` for a name that does not exist, with the nearest names that do.

    Args:
        kind: what the name should be, e.g. ``"backbone"``.
        name: what the user gave; YAML also reads numbers and dates as names.
        known: the names that exist.
        hint: an extra sentence on what to do.

    Returns:
        the error, to be raised by the caller.
    """
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=3)
    shown = f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(names[:12])}"
    if not close and len(names) > 12:
        shown += f" and {len(names) - 12} more"
    if not close and hint:
        shown += "."
    return UserError(f"unknown {kind} {name!r}; {shown}" + (f" {hint}" if hint else ""))
