"""The wait of tests/slurm, with a stand-in for `squeue`: Slurm itself is not on every machine."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.slurm.jobs import require_well, wait

JOBS = {"cam": "11", "affinity_labels": "12"}


def _squeue(folder: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    program = folder / "squeue"
    program.write_text(f"#!/bin/sh\nprintf '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_a_failed_job_ends_the_wait_with_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _squeue(tmp_path, monkeypatch, r"10 COMPLETED\n12 CANCELLED\n11 FAILED\n")
    log = tmp_path / "slurm" / "cam-11.txt"
    log.parent.mkdir()
    log.write_text("\n".join(f"line {n}" for n in range(100)))
    started = time.monotonic()
    with pytest.raises(AssertionError, match=r"jobs failed: .*cam.*FAILED") as error:
        wait(lambda: False, "the middle of fit", JOBS, tmp_path)
    assert time.monotonic() - started < 60  # a look each 2 s, on a busy machine; it was an hour
    assert str(error.value).endswith("line 98\nline 99") and "line 3\n" not in str(error.value)


def test_jobs_that_are_well_and_those_of_others_end_no_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _squeue(tmp_path, monkeypatch, r"11 PENDING\n12 COMPLETING\n9 FAILED\n")
    require_well(JOBS, tmp_path)
    wait(lambda: True, "nothing", JOBS, tmp_path)


def test_a_job_that_failed_before_it_printed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _squeue(tmp_path, monkeypatch, r"11 NODE_FAIL\n")
    with pytest.raises(AssertionError, match=r"(?s)cam-11.txt:.*it printed nothing"):
        require_well(JOBS, tmp_path)
