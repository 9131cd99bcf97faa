"""Plain threads for compiled kernels that release the GIL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch


def on_threads(work: Callable[..., None], jobs: Sequence[tuple[int, ...]]) -> None:
    """Run `work(*job)` for every job, on as many threads as torch may use.

    Each job must write to places of its own. Plain threads are safe in forked data-loader workers and
    inside other threads, which numba's own thread pools are not.
    """
    threads = min(torch.get_num_threads(), len(jobs))
    if threads <= 1:
        for job in jobs:
            work(*job)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda job: work(*job), jobs))
