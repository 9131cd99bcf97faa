"""Waiting for jobs of Slurm: a job that failed ends the wait at once, with what it printed last."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

PATIENCE = 3600
_LOOK = 2.0  # seconds between looks at the states, so that `until` is asked often
_LINES = 30
_FAILED = ("FAILED", "OUT_OF_MEMORY", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "CANCELLED")
"""The last one is also the state of jobs that wait for one that failed."""


def call(*words: object) -> str:
    """What a command prints; it must end well."""
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def wait(until: Callable[[], bool], what: str, jobs: Mapping[str, str], run: Path) -> None:
    """Wait for something that jobs bring about.

    Args:
        until: whether it is there.
        what: its name.
        jobs: step -> number of its job.
        run: the run folder, in which jobs write what they print.

    Raises:
        AssertionError: a job failed, or it is not there after `PATIENCE` seconds.
    """
    deadline, looked = time.monotonic() + PATIENCE, time.monotonic()
    while not until():
        now = time.monotonic()
        if now - looked > _LOOK:
            require_well(jobs, run)
            looked = now
        assert now < deadline, f"{what}: not after {PATIENCE} s\n{call('squeue')}"
        time.sleep(0.05)


def require_well(jobs: Mapping[str, str], run: Path) -> None:
    """Refuse jobs of which one failed; Slurm tells states for minutes after the end of a job."""
    listed = call("squeue", "--noheader", "--states=all", "--format=%i %T")
    states = dict(line.split() for line in listed.splitlines())
    failed = {step: states[job] for step, job in jobs.items() if states.get(job) in _FAILED}
    if not failed:
        return
    first = min(failed, key=lambda step: _FAILED.index(failed[step]))
    log = run / "slurm" / f"{first}-{jobs[first]}.txt"
    lines = log.read_text().splitlines()[-_LINES:] if log.is_file() else ["(it printed nothing)"]
    raise AssertionError("\n".join([f"jobs failed: {failed}; the end of {log}:", *lines]))
