"""Child processes of the runner."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tag2mask.pipeline.process import run_child

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
