"""Threads as many as CPUs, on every system."""

import os
import threading

import pytest

from tag2mask.core import UserError, map_threads, thread_pool, usable_cpus


def test_usable_cpus_are_those_of_the_process() -> None:
    assert usable_cpus() == len(os.sched_getaffinity(0))


def test_usable_cpus_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_cpus() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus() == 1


def test_map_threads_keeps_the_order_and_works_side_by_side() -> None:
    both = threading.Barrier(2, timeout=20)  # passes only if two threads arrive

    def work(number: int) -> int:
        both.wait()
        return number * number

    assert map_threads(work, iter([3, 1, 2, 5]), threads=2) == [9, 1, 4, 25]


def test_map_threads_with_one_thread_stays_in_the_caller() -> None:
    here = threading.get_ident()
    assert map_threads(lambda _: threading.get_ident(), [1, 2, 3], threads=1) == [here] * 3
    assert map_threads(lambda _: threading.get_ident(), [1]) == [here]
    assert map_threads(lambda _: threading.get_ident(), []) == []


def test_map_threads_raises_the_first_error_in_order() -> None:
    def work(number: int) -> int:
        raise ValueError(f"number {number}")

    with pytest.raises(ValueError, match="number 4"):
        map_threads(work, [4, 2, 1], threads=2)


def test_fewer_threads_than_one_are_refused() -> None:
    for start in (lambda: map_threads(str, [1, 2], threads=0), lambda: thread_pool(-1)):
        with pytest.raises(UserError, match="threads must be at least 1, or null"):
            start()


def test_thread_pool_has_a_thread_for_each_usable_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tag2mask.core.threads.usable_cpus", lambda: 3)
    with thread_pool() as pool:
        both = threading.Barrier(3, timeout=20)
        assert sorted(pool.map(lambda _: both.wait(), range(3))) == [0, 1, 2]
