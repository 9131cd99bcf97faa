"""The pieces that are measured: every module here has `cases(inputs) -> list[Case]`."""

from __future__ import annotations

import importlib
import pkgutil

from benchmarks.harness import Case, Inputs


def all_cases(inputs: Inputs) -> list[Case]:
    """The cases of every module of this package, in the order of their file names."""
    names = sorted(m.name for m in pkgutil.iter_modules(__path__))
    return [c for name in names for c in importlib.import_module(f"{__name__}.{name}").cases(inputs)]
