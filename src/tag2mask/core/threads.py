"""Threads for work that releases the GIL: compiled kernels, NumPy, file access."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tag2mask.core.errors import UserError
from tag2mask.core.limits import cpu_limit

T = TypeVar("T")
R = TypeVar("R")


def usable_cpus() -> int:
    """The number of CPUs that this process may use, at least 1.

    Slurm binds a process to some of the machine's CPUs, containers limit its time on them. Systems that
    cannot bind processes (macOS, Windows) count all of them.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(count, math.ceil(cpu_limit() or count)))


def limit_threads() -> None:
    """Have PyTorch, here and in further processes, start no more threads than the process has time on CPUs.

    By itself it counts the CPUs that it sees. To be called before it is imported; what the user says by
    ``OMP_NUM_THREADS`` holds.
    """
    if cpu_limit() is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(usable_cpus()))


def thread_pool(threads: int | None = None) -> ThreadPoolExecutor:
    """A pool of threads, to be used in a ``with`` block.

    Args:
        threads: how many; None takes one for each CPU that the process may use.

    Raises:
        UserError: `threads` is below 1.
    """
    return ThreadPoolExecutor(_count(threads))


def _count(threads: int | None) -> int:
    if threads is not None and threads < 1:
        raise UserError(f"threads must be at least 1, or null for one per usable CPU, got {threads}")
    return usable_cpus() if threads is None else threads


def map_threads(work: Callable[[T], R], items: Iterable[T], threads: int | None = None) -> list[R]:
    """The results of `work(item)` in the order of the items, computed side by side.

    Plain threads are safe in forked data-loader workers and inside other threads. With one thread, or
    one item, the work is done in the calling thread.

    Args:
        work: called once for each item, from several threads at once.
        items: what to work on.
        threads: the most threads at a time; None takes one for each CPU that the process may use.

    Raises:
        UserError: `threads` is below 1.
        Exception: the first error that `work` raised, in the order of the items.
    """
    jobs = list(items)
    count = min(len(jobs), _count(threads))
    if count <= 1:
        return [work(job) for job in jobs]
    with thread_pool(count) as pool:
        return list(pool.map(work, jobs))
