"""The runner with real processes: steps that fail, signals, and the lock of the run folder."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tag2mask.core import UserError
from tag2mask.pipeline import Devices, Extras, making, run_recipe, runner
from tag2mask.pipeline.lock import RunLock
from tests.pipeline.toy_recipe import ALL, FAKE, PROGRAM, Bench


def test_failing_step(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_FAIL", "cam:predict")
    assert bench.run() == 2
    assert bench.started() == ALL[:2]
    errors = capfd.readouterr().err
    assert errors.startswith("error: the sky is falling\n")
    assert f"step cam (predict) failed with exit code 2; its log: {bench.run_dir}/cam/log.txt" in errors
    assert f"go on with: tag2mask run toy --run-dir {bench.run_dir}\n" in errors
    log = (bench.run_dir / "cam" / "log.txt").read_text()
    # of a line that was drawn over, the log has the last state only
    assert log.split("\n") == [
        "epoch 2", "cam fit over", "", "cam predict over", "error: the sky is falling", "",
    ]  # fmt: skip
    monkeypatch.delenv("FAKE_FAIL")
    assert bench.run(asked={"data": None}) == 0
    assert bench.started() == ALL[1:]


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGKILL, 137, "failed with exit code 137, killed by signal 9"),
        # a cluster may ask to stop before the step listens, and the job has to go into the queue again
        (signal.SIGTERM, 75, "was stopped by a signal"),
        (signal.SIGUSR1, 75, "was stopped by a signal"),
    ],
)
def test_step_that_a_signal_ends(
    number: int, code: int, said: str, bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    fake = bench.conf / "crash.py"
    fake.write_text(f"import os\nos.kill(os.getpid(), {int(number)})\n")
    assert run_recipe(bench.request(check=False), (sys.executable, str(fake))) == code
    assert f"step cam (fit) {said}" in capfd.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, 137), (signal.SIGTERM, 75)])
def test_the_look_at_the_images_that_a_signal_ends(
    number: int, code: int, bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    """The code was 2 and the message "exit code -9": found by make chaos."""
    fake = bench.conf / "crash.py"
    fake.write_text(f"import os, sys\nif 'sizes' in sys.argv:\n    os.kill(os.getpid(), {int(number)})\n")
    assert run_recipe(bench.request(), (sys.executable, str(fake))) == code
    errors = capfd.readouterr().err
    assert f"'tag2mask data sizes' was killed by signal {int(number)}; nothing was started" in errors
    assert "go on with: tag2mask run toy" in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_before_the_first_step(
    bench: Bench, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ended the runner without a word, with a code that keeps a job of Slurm out of the queue."""

    def look(*_: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(60)

    monkeypatch.setattr(runner, "require_weights", look)
    before = signal.signal(number, lambda *_: pytest.fail("nobody answers"))
    try:
        assert bench.run() == 75
    finally:
        signal.signal(number, before)
    said = capsys.readouterr().err
    assert said == f"stopped by {signal.Signals(number).name}; the same command goes on from here\n"
    assert bench.started() == []


def test_step_that_does_not_keep_its_promise(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    fake = bench.conf / "nothing.py"
    fake.write_text("")
    assert run_recipe(bench.request(check=False), (sys.executable, str(fake))) == 1
    assert "did not complete its manifest" in capfd.readouterr().err


def test_failing_check_score_and_report(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_FAIL", "data")
    assert bench.run() == 2
    assert [c[0] for c in bench.calls()] == ["data"]
    assert [p.name for p in bench.run_dir.iterdir()] == [".lock"]
    assert "error: data is broken\nthe data check failed; nothing was started" in capfd.readouterr().err
    assert bench.run(check=False, stages=(1,)) == 0
    monkeypatch.setenv("FAKE_FAIL", "score-step")
    (bench.run_dir / "cam" / "score.json").unlink()
    assert bench.run() == 2
    assert "step cam could not be scored" in capfd.readouterr().err
    monkeypatch.setenv("FAKE_FAIL", "report")
    assert bench.run() == 1
    assert "the report could not be written" in capfd.readouterr().err
    assert (bench.run_dir / "scorecard.json").exists()


def test_the_command_that_goes_on_says_what_the_folder_does_not_remember(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def way_on() -> str:
        line = next(ln for ln in capfd.readouterr().err.splitlines() if ln.startswith("go on with: "))
        return line.partition(f"--run-dir {bench.run_dir}")[2].strip()

    assert bench.run(asked={"seed": 5}) == 0
    # stopped before its first step, the call has left nothing in the folder
    monkeypatch.setenv("FAKE_FAIL", "data")
    assert bench.run(asked={"seed": 6, "data": None}, rerun=("cam",)) == 2
    assert way_on() == "--seed 6 --rerun cam"
    # later the seed is remembered, and a step that was begun anew goes on
    monkeypatch.setenv("FAKE_FAIL", "cam:fit")
    assert bench.run(asked={"seed": 6}, rerun=("cam", "label")) == 2
    assert way_on() == "--rerun label"


def _run_in_background(bench: Bench, **environment: str) -> subprocess.Popen[str]:
    # Shells start background jobs with Ctrl-C ignored, which every child would inherit.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import sys; from pathlib import Path; from tag2mask.pipeline import *\n"
        f"request = Request(Settings('toy', data='toy'), Path({str(bench.run_dir)!r}))\n"
        f"sys.exit(run_recipe(request, {PROGRAM!r}))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def _wait_for(path: Path, text: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"{text!r} did not appear in {path}")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)]
)
def test_stopped_and_resumed(bench: Bench, number: int, code: int) -> None:
    runner = _run_in_background(bench, FAKE_HANG="model:fit")
    _wait_for(bench.run_dir / "model" / "log.txt", "hanging")
    started = time.monotonic()
    runner.send_signal(number)
    out, err = runner.communicate(timeout=120)  # a guard against hanging, generous for a busy machine
    assert time.monotonic() - started < 50  # the step itself hangs for 60
    assert runner.returncode == code
    # the step could save what it had: on Ctrl-C it was told once and then waited for
    assert ("saved and stopped" in out) == (number == signal.SIGINT)
    assert f"stopped; go on with: tag2mask run toy --run-dir {bench.run_dir}" in err
    assert (bench.run_dir / "model" / "checkpoints" / "count").read_text() == "2"
    bench.calls()
    assert bench.run() == 0
    assert bench.started() == ["model:fit", "model:predict"]
    log = (bench.run_dir / "model" / "log.txt").read_text()
    assert log.count("epoch 2") == 1 and not (bench.run_dir / "model.previous").exists()


def test_signal_between_two_commands_stops_the_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = making.write_input

    def write_input(folder: Path, command: str, fingerprint: str, parts: Any) -> None:
        kept(folder, command, fingerprint, parts)
        if folder.name == "learn":
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(making, "write_input", write_input)
        assert bench.run() == 75
    assert "stopped; go on with: tag2mask run toy" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before
    bench.calls()
    assert bench.run() == 0
    assert bench.started() == ALL[2:]


def test_few_images_that_devices_cannot_share_are_refused_before_anything_starts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of 8 can be shared by 2, all 7 images of the data set cannot."""
    monkeypatch.setenv("FAKE_SIZES", json.dumps({"counts": {"train": 7, "val": 1}}))
    extras = Extras(Devices(2), overrides={"cam": {"data.init_args.batch_size": 8}})
    with pytest.raises(
        UserError, match=r"step cam: a batch of all 7 training images: .*_size of 6\n.* 1 or 7 d"
    ):
        bench.run(stages=(1,), extras=extras)
    assert bench.started() == [] and not (bench.run_dir / "cam").exists()


def test_what_killed_processes_left_is_cleared_away(bench: Bench) -> None:
    assert bench.run() == 0
    strays = [bench.run_dir / ".run.json.abcdefgh.tmp", bench.run_dir / "cam" / ".score.json.abcdefgh.tmp"]
    for stray in strays:
        stray.touch()
    assert bench.run() == 0
    assert not any(stray.exists() for stray in strays)


def test_killed_runner_leaves_no_lock_but_its_step_does(bench: Bench) -> None:
    runner = _run_in_background(bench, FAKE_HANG="cam:fit")
    _wait_for(bench.run_dir / "cam" / "log.txt", "hanging")
    with pytest.raises(UserError, match=f"in use by process {runner.pid}"):
        bench.run()
    runner.kill()
    runner.wait()
    # the step lives on and still writes into the folder
    with pytest.raises(UserError, match="a step that it started"):
        bench.run()
    _end_process_that_says(str(bench.run_dir / "cam"))
    assert bench.run() == 0


def _end_process_that_says(text: str) -> None:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode()
        except OSError:
            continue
        if text in words and str(FAKE) in words:
            os.kill(int(folder.name), signal.SIGKILL)
            while folder.exists() and b"State:\tZ" not in (folder / "status").read_bytes():
                time.sleep(0.02)


def test_lock_where_the_file_system_has_none(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    assert bench.run() == 0
    assert "a file system without locks" in capsys.readouterr().out
    held = bench.run_dir / ".lock.held"
    assert not held.exists()
    held.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    with pytest.raises(UserError, match=f"in use by process {os.getpid()}.*delete"):
        bench.run()
    held.write_text(json.dumps({"pid": 999999999, "host": "elsewhere"}))
    with pytest.raises(UserError, match="on elsewhere"):
        bench.run()
    held.write_text(json.dumps({"pid": 999999999, "host": socket.gethostname()}))
    assert bench.run() == 0 and not held.exists()
    held.write_text('{"pid": ')  # its writer has just begun, or the disk was full
    with pytest.raises(UserError, match="in use by some other runner"):
        bench.run()


def test_a_disk_too_full_for_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for lock in (fcntl.flock, none):
        monkeypatch.setattr(fcntl, "flock", lock)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            with pytest.raises(UserError, match=r"cannot write .*\.lock(\.held)?: File too large; make room"):
                RunLock(tmp_path).__enter__()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert not (tmp_path / ".lock.held").exists()
    monkeypatch.undo()
    with RunLock(tmp_path) as lock:
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
        assert lock.fd > 0


def test_lock_file_of_a_dead_runner(bench: Bench) -> None:
    bench.run_dir.mkdir()
    (bench.run_dir / ".lock").write_text('{"pid": 999999999, "host": "elsewhere"}')
    assert bench.run(stages=(1,)) == 0
    with open(bench.run_dir / ".lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(UserError, match=r"stop it$"):
            bench.run()
        # a file server that does not know yet that the other machine has died, or never will
        (bench.run_dir / ".lock").write_text('{"pid": 12, "host": "elsewhere"}')
        with pytest.raises(UserError, match=r"process 12 on elsewhere.* gone for good, delete .*/\.lock$"):
            bench.run()
        (bench.run_dir / ".lock").unlink()
        assert bench.run(stages=(1,)) == 0


def test_a_folder_that_cannot_be_locked_is_not_said_to_be_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(UserError, match=r"cannot lock .*: Input/output error; choose a --run-dir"):
        RunLock(tmp_path).__enter__()
