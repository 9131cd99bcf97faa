"""Compiled loops, as every kernel of this package takes them from numba."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

_log = logging.getLogger(__name__)


def compiled(**options: Any) -> Callable[[Function], Function]:
    """Compile at the first call, keep the code on disk, and release the interpreter lock while it runs.

    Where there is no folder to keep it in, every process compiles for itself: containers often run as a user
    who may write neither to the package nor to a home.

    Args:
        options: further ones of `numba.njit`.
    """

    def decorate(function: Function) -> Function:
        found: Function
        try:
            # numba takes "~" for a folder of that name where there is no home
            keep = "NUMBA_CACHE_DIR" in os.environ or os.path.isabs(os.path.expanduser("~"))
            found = numba.njit(nogil=True, cache=keep, **options)(function)
        except RuntimeError:  # numba finds no folder that it may write to
            keep = False
            found = numba.njit(nogil=True, **options)(function)
        if not keep:
            _say_why_slow()
        return found

    return decorate


@functools.cache
def _say_why_slow() -> None:
    _log.warning(
        "compiled code cannot be kept, so every command compiles it again, which takes seconds: "
        "set NUMBA_CACHE_DIR to a folder that you may write to"
    )
