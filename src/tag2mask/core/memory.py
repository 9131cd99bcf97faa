"""What the process does with memory that it has freed."""

from __future__ import annotations

import contextlib
import ctypes

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # names of malloc.h
_LARGEST = 2**31 - 1
_DEFAULT_MMAP, _DEFAULT_TRIM = 2**25, 2**26  # where glibc's own adaptation ends


def keep_freed_memory(keep: bool = True) -> bool:
    """Let malloc hand out large freed blocks again rather than return them to the system.

    glibc returns blocks above 32 MB at once, and a new one is filled page by page, at a few
    microseconds each: for the first feature maps of a photo that takes longer than the convolution.
    The process keeps what it needed at its peak, of which other sizes are made too.

    Args:
        keep: False goes back to glibc's own limits and returns what was kept.

    Returns:
        whether the system's malloc knows the request (glibc on Linux).
    """
    mmap, trim = (_LARGEST, _LARGEST) if keep else (_DEFAULT_MMAP, _DEFAULT_TRIM)
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        known = bool(libc.mallopt(_MMAP_THRESHOLD, mmap)) and bool(libc.mallopt(_TRIM_THRESHOLD, trim))
        if not keep:
            libc.malloc_trim(0)
        return known
    return False
