"""Limits of containers and clusters, and what runs where no home and no folder may be written to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tag2mask.core import threads
from tag2mask.core.limits import cpu_limit, memory_limit


def _groups(root: Path, lines: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": lines, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_smallest_limit_above_a_slurm_step_holds(tmp_path: Path) -> None:
    job = "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7"
    files = {
        f"{job}/memory.max": "4294967296\n",
        f"{job}/step_0/memory.max": "max\n",
        f"{job}/cpu.max": "250000 100000\n",
        f"{job}/step_0/cpu.max": "max 100000\n",
    }
    root = _groups(tmp_path, "0::/system.slice/slurmstepd.scope/job_7/step_0\n", files)
    assert (cpu_limit(root), memory_limit(root)) == (2.5, 2**32)


def test_a_container_sees_the_limits_of_version_1_at_the_top(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n",
    }
    root = _groups(tmp_path, "9:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n0::/docker/ab\n", files)
    assert (cpu_limit(root), memory_limit(root)) == (1.5, 2**30)


@pytest.mark.parametrize("files", [{}, {"sys/fs/cgroup/cpu.max": "max 100000\n"}])
def test_no_limit(tmp_path: Path, files: dict[str, str]) -> None:
    assert cpu_limit(tmp_path / "no system") is None
    root = _groups(tmp_path, "2:cpu:/\n0::/\n", {**files, "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n"})
    assert (cpu_limit(root), memory_limit(root)) == (None, None)


def test_threads_are_as_many_as_the_time_on_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(64))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "cpu_limit", lambda: None)
    threads.limit_threads()
    assert threads.usable_cpus() == 64 and "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setattr(threads, "cpu_limit", lambda: 2.5)
    threads.limit_threads()
    assert (threads.usable_cpus(), os.environ["OMP_NUM_THREADS"]) == (3, "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    threads.limit_threads()
    assert os.environ["OMP_NUM_THREADS"] == "5"
