"""Keeping freed memory, seen by the page faults of large blocks that come and go."""

import resource
import sys

import numpy as np
import pytest

from tag2mask.core import keep_freed_memory

MEGABYTES = 64
PAGES = MEGABYTES * 256


def faults() -> int:
    """Page faults of filling a block and freeing it, after a first one."""
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(MEGABYTES * 2**17)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc is Linux's")
def test_a_block_is_filled_once_and_then_used_again() -> None:
    if not keep_freed_memory():
        pytest.skip("this C library has no mallopt")
    try:
        kept = faults()
        keep_freed_memory(False)
        # Huge pages may make one fault of 512.
        assert faults() >= PAGES / 512
        assert kept < PAGES / 512
    finally:
        keep_freed_memory(False)
