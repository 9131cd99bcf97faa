"""How much memory a call takes at its peak, seen from the operating system."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def peak_growth_mb(run: Callable[[], T]) -> tuple[T, float | None]:
    """Run something and tell by how many MB the process grew at most while it ran.

    Counts all memory of the process, so that torch, numba and OpenCV are seen alike. None where
    the system does not tell (only Linux does).
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        # What earlier runs freed but kept would otherwise hide what this one takes.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    try:
        _CLEAR.write_text("5")  # resets the peak, see proc(5)
        before = _kilobytes("VmRSS")
    except OSError:
        return run(), None
    result = run()
    return result, max(0, _kilobytes("VmHWM") - before) / 1024


def _kilobytes(name: str) -> int:
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
