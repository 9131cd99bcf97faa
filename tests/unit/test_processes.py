"""Child processes of the runner, and run folders that may not be written to."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest

from tag2mask.artifacts import wandb_identity
from tag2mask.core import UserError
from tag2mask.pipeline.lock import RunLock
from tag2mask.pipeline.process import run_child
from tag2mask.pipeline.twins import copy_step

TALK = """
import os, pathlib, sys, time
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
sys.stdout.write("Bär\\n")
time.sleep(60)
"""


class _Closed:
    """What our output is once `head` has seen enough."""

    def write(self, text: str) -> None:
        raise BrokenPipeError


def test_a_step_does_not_outlive_a_runner_whose_output_nobody_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note, log = tmp_path / "pid", tmp_path / "log.txt"
    monkeypatch.setattr(sys, "stdout", _Closed())
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")  # a child speaks UTF-8 all the same
    with pytest.raises(BrokenPipeError):
        run_child([sys.executable, "-c", TALK, str(note)], log)
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
    assert log.read_text(encoding="utf-8") == "Bär\n"


def test_a_run_of_somebody_else_is_refused_with_a_way_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, flags: int, mode: int) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserError, match=r"Permission denied; choose a folder .*; --reuse .* takes over"):
        RunLock(tmp_path).__enter__()


def test_the_copy_of_a_read_only_step_can_be_written_to(tmp_path: Path) -> None:
    log = tmp_path / "kept" / "cam" / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text("done\n")
    for path in (log, log.parent):
        path.chmod(path.stat().st_mode & ~0o222)
    (tmp_path / "mine").mkdir()
    copy_step(log.parent, tmp_path / "mine" / "cam")
    copies = [tmp_path / "mine" / "cam", tmp_path / "mine" / "cam" / "log.txt"]
    assert all(path.stat().st_mode & stat.S_IWUSR for path in copies)
    assert not log.stat().st_mode & stat.S_IWUSR


def test_a_copied_step_is_another_run_in_wandb(tmp_path: Path) -> None:
    """With the same id, what is logged of the copy went into the run, and took it out of its group."""
    source, copy = tmp_path / "kept" / "cam", tmp_path / "mine" / "cam"
    for name in ("wandb/offline-run-1/run-1.wandb", "out/wandb", "log.txt"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("x")
    first = wandb_identity(source)
    copy.parent.mkdir()
    copy_step(source, copy)
    assert {path.relative_to(copy).as_posix() for path in copy.rglob("*")} == {"out", "out/wandb", "log.txt"}
    second = wandb_identity(copy)
    assert second["group"] == "mine" and second["id"] != first["id"] == wandb_identity(source)["id"]
