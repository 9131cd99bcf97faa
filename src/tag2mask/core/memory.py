"""Memory that the process has freed and will need again."""

from __future__ import annotations

import contextlib
import ctypes

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # names of malloc.h
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Ask malloc to keep large freed blocks for later instead of returning them to the system.

    glibc returns blocks above 32 MB at once. A new block is then filled page by page, at a few
    microseconds a page: for the first feature maps of an image this takes longer than the convolution.
    The price is that the process holds the memory of its peak until it ends.

    Returns:
        whether the request was understood (glibc on Linux understands it).
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(libc.mallopt(_TRIM_THRESHOLD, _LARGEST))
    return False
