"""The lock of a run folder: whose it is, where nobody has locks, and when its file is deleted."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tag2mask.core import UserError
from tag2mask.pipeline import process
from tag2mask.pipeline.holder import Holder
from tag2mask.pipeline.lock import RunLock
from tag2mask.pipeline.process import run_child

ELSEWHERE = json.dumps({"pid": 12, "host": "elsewhere"})
HELD = ".lock.held"


def _is_free(folder: Path) -> bool:
    """Whether another process, which has nothing of ours open, gets the lock."""
    code = "import sys; from pathlib import Path; from tag2mask.pipeline.lock import RunLock\n"
    code += "RunLock(Path(sys.argv[1])).__enter__()"
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, check=False)
    return done.returncode == 0


@pytest.fixture(params=["flock", "file"])
def own(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of the file that holds the folder, with locks of the file system and without."""
    if request.param == "file":
        monkeypatch.setattr(fcntl, "flock", _refusing(errno.ENOLCK))
        return HELD
    return ".lock"


def _refusing(number: int) -> Callable[..., None]:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return flock


@pytest.mark.parametrize("name", ["ENOLCK", "EOPNOTSUPP", "ENOTSUP", "ENOSYS"])
def test_every_word_for_no_locks_is_understood(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fcntl, "flock", _refusing(getattr(errno, name)))
    with RunLock(tmp_path):
        assert f"without locks: {HELD} stands for one" in capsys.readouterr().out
        with pytest.raises(UserError, match=rf"in use by process {os.getpid()} on .*delete .*{HELD}"):
            RunLock(tmp_path).__enter__()
    assert not (tmp_path / HELD).exists()


def test_a_process_that_was_given_the_number_of_a_dead_one_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restart of the machine, or of a container, in which every runner is process 1."""
    monkeypatch.setattr(fcntl, "flock", _refusing(errno.ENOLCK))
    note = {"pid": os.getpid(), "host": socket.gethostname()}
    for started, free in ((1, True), (Holder.me().started, False), (None, False)):
        (tmp_path / HELD).write_text(json.dumps(note | {"started": started}))
        if free:
            with RunLock(tmp_path):
                pass
        else:
            with pytest.raises(UserError, match="in use by process"):
                RunLock(tmp_path).__enter__()


def test_a_lock_that_was_deleted_is_taken_again(
    own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunLock(tmp_path) as lock:
        (tmp_path / own).unlink()
        lock.keep()
        assert f"{tmp_path / own} was deleted, and is made again" in capsys.readouterr().out
        assert Holder.read((tmp_path / own).read_bytes()) == Holder.me()
        if own == ".lock":
            assert not _is_free(tmp_path)
        lock.keep()
        assert "deleted" not in capsys.readouterr().out
    assert _is_free(tmp_path) and not (tmp_path / HELD).exists()


def test_a_lock_that_another_runner_took_ends_the_run(own: str, tmp_path: Path) -> None:
    with RunLock(tmp_path) as lock:
        (tmp_path / own).write_text(ELSEWHERE)
        with pytest.raises(UserError, match=r"was deleted, .* in use by process 12 on elsewhere"):
            lock.keep()
    assert (tmp_path / own).read_text() == ELSEWHERE  # what is theirs stays


def test_a_lock_that_another_runner_takes_at_that_moment(tmp_path: Path) -> None:
    with RunLock(tmp_path) as lock:
        (tmp_path / ".lock").unlink()
        with open(tmp_path / ".lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.keep()  # it has not noted itself yet, so the next look tells
            file.write(ELSEWHERE)
            file.flush()
            with pytest.raises(UserError, match="in use by process 12 on elsewhere"):
                lock.keep()


@pytest.mark.parametrize("trouble", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_trouble_of_a_file_server_ends_no_run(
    trouble: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> bytes:
        raise OSError(trouble, os.strerror(trouble))

    with RunLock(tmp_path) as lock, monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fail)
        lock.keep()


def test_a_step_ends_when_its_run_has_lost_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "WATCH", 0.1)
    note = tmp_path / "pid"
    talk = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"

    def look() -> None:
        if note.exists() and note.read_text():
            raise UserError("lost")

    with pytest.raises(UserError, match="lost"):
        run_child([sys.executable, "-c", talk, str(note)], watch=look)
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
