"""Keeping freed memory, seen by the page faults of large blocks that come and go."""

import subprocess
import sys

import pytest

MEGABYTES = 64
PAGES = MEGABYTES * 256

# In a process of its own: what other tests left in the heap would be used without a fault.
PROGRAM = f"""
import resource
import numpy as np
from tag2mask.core import keep_freed_memory

def faults():
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones({MEGABYTES} * 2**17)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), faults() if keep_freed_memory() else None)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc is Linux's")
def test_a_block_is_filled_once_and_then_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    returned, kept = done.stdout.split()
    if kept == "None":
        pytest.skip("this C library has no mallopt")
    # Huge pages may make one fault of 512.
    assert int(returned) >= PAGES / 512 > int(kept)
