"""What the process does with memory that it has freed."""

from __future__ import annotations

import contextlib
import ctypes

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # names of malloc.h
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let malloc hand out large freed blocks again rather than return them to the system.

    glibc returns blocks above 32 MB at once, and a new one is filled page by page, at a few
    microseconds each: for the first feature maps of an image that takes longer than the convolution.
    The process keeps what it needed at its peak, of which other sizes are made too.

    Returns:
        whether the system's malloc knows the request (glibc on Linux).
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(libc.mallopt(_TRIM_THRESHOLD, _LARGEST))
    return False
