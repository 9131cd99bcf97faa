"""The runner with real processes: what it starts, skips, goes on with, makes again, refuses."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import resource
import shlex
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tag2mask.artifacts import note_sources
from tag2mask.cli import build_parser
from tag2mask.core import UserError
from tag2mask.pipeline import Devices, Extras, Request, Settings, command, run_recipe, runner
from tag2mask.pipeline.lock import RunLock

FAKE = Path(__file__).with_name("fake_tag2mask.py")
PROGRAM = (sys.executable, str(FAKE))

STEPS = {
    "cam": {"stage": 1, "script": "classifier", "commands": ["fit", "predict"], "kind": "maps", "inputs": {}},
    "learn": {"stage": 2, "script": "affinity", "commands": ["fit"], "kind": "checkpoint",
              "inputs": {"data.init_args.labels_dir": "cam"}},
    "label": {"stage": 2, "script": "pseudo_labels", "commands": ["predict"], "kind": "labels",
              "inputs": {"data.init_args.maps_dir": "cam", "model.init_args.affinity_from": "learn"}},
    "model": {"stage": 3, "script": "segmentation", "commands": ["fit", "predict"], "kind": "segmentation",
              "inputs": {"data.init_args.labels_dir": "label"}},
}  # fmt: skip
VARIANTS = {
    "short": {
        "skip": ["learn", "label"],
        "steps": {"model": {"inputs": {"data.init_args.labels_dir": "cam"}}},
    },
    "bare": {"steps": {"label": {"model.init_args.refinements": None}}},
}


class Bench:
    """A folder of configurations, a run folder, and the calls that the fake program noted."""

    def __init__(self, folder: Path) -> None:
        self.conf = folder / "conf"
        self.page = self.conf / "recipes" / "toy.yaml"
        self.run_dir = folder / "run"
        self.calls_file = folder / "calls"
        self.settings = {step: {"lr": 0.1, "of": step} for step in STEPS}
        self.set()
        self.write("budgets/tiny.yaml", {})
        self.write("backbones/resnet50.yaml", {})
        self.write_data("toy", ["cat"])
        self.write("logger/csv.yaml", {"trainer": {"logger": True}})

    def set(self, step: str = "cam", **init_args: Any) -> None:
        """Write the recipe's page, with other settings for a step."""
        self.settings[step] |= init_args
        steps = {}
        for name, plain in STEPS.items():
            budgets = {"tiny": {"trainer": {"max_epochs": 1}}} if "fit" in plain["commands"] else {}
            model = {"init_args": self.settings[name]}
            steps[name] = {**plain, "model": model, "budgets": budgets}
        self.write("recipes/toy.yaml", {"title": "a toy", "steps": steps, "variants": VARIANTS})

    def write(self, name: str, plain: Any) -> Path:
        path = self.conf / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(plain, sort_keys=False))
        return path

    def write_data(self, name: str, classes: list[str], **more: Any) -> Path:
        init = {"root": "here", "classes": classes} | more
        dataset = {"class_path": "tag2mask.data.VOC", "init_args": init}
        return self.write(f"data/{name}.yaml", {"data": {"init_args": {"dataset": dataset}}})

    def request(self, **changes: Any) -> Request:
        settings = {"recipe": "toy", "data": "toy"} | changes.pop("asked", {})
        return replace(Request(Settings(**settings), self.run_dir), **changes)

    def run(self, **changes: Any) -> int:
        return run_recipe(self.request(**changes), PROGRAM)

    def calls(self) -> list[list[str]]:
        """The calls since the last look."""
        if not self.calls_file.exists():
            return []
        lines = self.calls_file.read_text().splitlines()
        self.calls_file.unlink()
        return [json.loads(line) for line in lines]

    def started(self) -> list[str]:
        """The same as ``step:command``, for steps only."""
        return [_named(words) for words in self.calls() if words[0] == "step"]

    def started_with(self, step: str) -> dict[str, Any]:
        """The settings in the step's folder."""
        return yaml.safe_load((self.run_dir / step / "settings.yaml").read_text())

    def manifest(self, step: str) -> dict[str, Any]:
        return json.loads((self.run_dir / step / "manifest.json").read_text())


def _named(words: list[str]) -> str:
    return f"{Path(_option(words, '--step-dir')).name}:{words[2]}"


def _option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


ALL = ["cam:fit", "cam:predict", "learn:fit", "label:predict", "model:fit", "model:predict"]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(tmp_path)
    monkeypatch.setenv("TAG2MASK_CONF", str(bench.conf))
    monkeypatch.setenv("FAKE_CALLS", str(bench.calls_file))
    monkeypatch.chdir(tmp_path)
    return bench


def test_all_steps_in_order_and_then_nothing(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run() == 0
    calls = bench.calls()
    assert calls[:2] == [["data", "check", "--data", "toy"], ["data", "sizes", "--data", "toy"]]
    assert [_named(c) if c[0] == "step" else f"{c[0]} {Path(c[1]).name}" for c in calls[2:]] == [
        *ALL[:2], "score-step cam", "learn:fit", "label:predict", "score-step label", *ALL[4:],
        "score-step model", "report run",
    ]  # fmt: skip
    printed = capsys.readouterr().out
    assert re.search(r"\[3/4\] label  done in \d+ s", printed)
    assert "mIoU 66.0 (train, best threshold 0.31; at 0.3: 64.0)  mAP 93.0" in printed
    assert "cam fit over" in printed
    assert bench.run() == 0
    assert [c[0] for c in bench.calls()] == ["report"]
    assert "[1/4] cam  skipped (done before)  mIoU 66.0" in capsys.readouterr().out


def test_command_line_of_a_step(bench: Bench, tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    overrides = {"label": {"model.init_args.x": 1}}
    extras = Extras(Devices(2), "csv", overrides, ["--trainer.precision", "32"])
    asked = {
        "data_root": "images", "budget": "tiny", "backbone": "resnet50", "weights": "w.safetensors",
        "seed": 7, "variant": "bare",
    }  # fmt: skip
    assert bench.run(asked=asked, extras=extras) == 0
    steps = {_named(c): c for c in bench.calls() if c[0] == "step"}
    run, conf = bench.run_dir, bench.conf
    fingerprint = bench.manifest("cam")["commands"]["fit"]["fingerprint"]
    assert steps["cam:fit"] == [
        "step", "classifier", "fit", "--config", f"{run}/cam/settings.yaml",
        "--step-dir", f"{run}/cam", "--recipe", "toy:bare", "--fingerprint", fingerprint,
        "--config", f"{conf}/logger/csv.yaml", "--trainer.devices", "2", "--trainer.precision", "32",
    ]  # fmt: skip
    dataset = {"class_path": "tag2mask.data.VOC", "init_args": {"root": str(tmp_path / "images")}}
    dataset["init_args"]["classes"] = ["cat"]
    backbone = {"name": "resnet50", "weights": str(weights)}
    assert bench.started_with("cam") == {
        "model": {"init_args": {"lr": 0.1, "of": "cam", "backbone": backbone}},
        "data": {"init_args": {"dataset": dataset}},
        "trainer": {"max_epochs": 1},
        "seed_everything": 7,
    }
    origins = json.loads((bench.run_dir / "cam" / "origins.json").read_text())
    assert origins["seed_everything"] == "--seed" and origins["trainer.max_epochs"].startswith(
        "recipes/toy.yaml:"
    )
    label = steps["label:predict"]
    assert _option(label, "--data.init_args.maps_dir") == f"{run}/cam"
    assert _option(label, "--model.init_args.affinity_from") == f"{run}/learn"
    # a step that trains nothing has no backbone; the variant and the command line set the rest
    changed = {"lr": 0.1, "of": "label", "refinements": None, "x": 1}
    assert bench.started_with("label")["model"] == {"init_args": changed}


def test_a_result_of_no_use_ends_the_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_EMPTY", "label")
    for _ in range(2):  # what is skipped is of no use, either
        assert bench.run() == 3
        assert not any("model:fit" in call for call in bench.started())
        printed = capsys.readouterr()
        assert "mAP 93.0\n  ! all empty; mend it\n" in printed.out
        assert printed.out.splitlines()[-1].startswith("alarms (label: empty_labels): what was seen and what")
        assert "go on all the same with: tag2mask run toy --run-dir" in printed.err
        assert "--allow-empty" in printed.err
    assert bench.run(allow_empty=True) == 0
    assert bench.started() == ["model:fit", "model:predict"]
    printed = capsys.readouterr().out
    label = next(line for line in printed.splitlines() if line.startswith("label "))
    assert label.endswith("  empty_labels") and "time  " in printed
    card = json.loads((bench.run_dir / "scorecard.json").read_text())
    assert [alarm["name"] for alarm in card["alarms"].pop("label")] == ["empty_labels"] and not card["alarms"]


def test_scorecard(bench: Bench) -> None:
    bench.run(asked={"seed": 3, "backbone": "resnet50"})
    path = bench.run_dir / "scorecard.json"
    card = json.loads(path.read_text())
    assert (card["recipe"], card["data"], card["budget"], card["backbone"], card["seed"]) == (
        "toy", "toy", "full", "resnet50", 3,
    )  # fmt: skip
    assert list(card["steps"]) == ["cam", "label", "model"]
    assert card["steps"]["cam"]["miou"] == 0.64 and card["steps"]["cam"]["metrics"] == {"map": 0.93}
    assert card["seconds"] == {"cam": 4.0, "learn": 2.0, "label": 2.0, "model": 4.0}
    assert card["versions"] == {"fake": "1"}
    path.write_text(json.dumps({"note": "mine", "steps": {"gone": {}}}))
    bench.run()
    again = json.loads(path.read_text())
    assert again.pop("note") == "mine" and again == card


def test_changed_configuration(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.run()
    bench.calls()
    first = bench.manifest("label")["made"]
    bench.page.write_text("# only a comment\n" + bench.page.read_text())
    bench.run()
    assert bench.started() == []
    bench.set("label", lr=0.5)
    capsys.readouterr()
    bench.run()
    # what reads the step is made again too, what it reads is not
    assert bench.started() == ["label:predict", "model:fit", "model:predict"]
    printed = capsys.readouterr().out
    assert "[3/4] label  to be made again: model.init_args.lr 0.1 -> 0.5\n" in printed
    assert "[4/4] model  to be made again: label is made first\n" in printed
    kept = json.loads((bench.run_dir / "label.previous" / "manifest.json").read_text())
    assert kept["made"] == first and bench.manifest("label")["made"] != first
    bench.set("label", lr=0.6)
    bench.run()
    assert json.loads((bench.run_dir / "label.previous" / "manifest.json").read_text())["made"] != first


def test_a_step_made_again_is_then_done(bench: Bench) -> None:
    # Saying what changed must not mix anything into the record.
    bench.run()
    bench.set("label", nested={"a": 1})
    bench.calls()
    bench.run()
    assert "label:predict" in bench.started()
    bench.run()
    assert bench.started() == []


def test_parent_made_again_by_hand(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.run()
    bench.calls()
    path = bench.run_dir / "learn" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"made": 0}))
    capsys.readouterr()
    bench.run(stages=(2,))
    assert bench.started() == ["label:predict"]
    assert "learn was made again" in capsys.readouterr().out
    manifest = json.loads(path.read_text())
    manifest["commands"]["fit"]["fingerprint"] = ""
    path.write_text(json.dumps(manifest))
    bench.run(stages=(2,))
    assert bench.started() == ["learn:fit", "label:predict"]
    assert "started by hand or with settings that are not on record" in capsys.readouterr().out


def test_options_are_part_of_the_fingerprint_but_those_for_a_machine_are_not(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.run(stages=(1,))
    bench.calls()
    workers = "data.init_args.num_workers"
    for extras in (
        Extras(devices=Devices(4), logger="csv"),
        Extras(overrides={"cam": {workers: 0}}),
        Extras(args=(f"--{workers}", "0")),
    ):
        bench.run(stages=(1,), extras=extras)
        assert bench.started() == []
    bench.run(stages=(1,), extras=Extras(args=("--trainer.max_epochs", "2")))
    assert bench.started() == ALL[:2]
    assert "options none -> --trainer.max_epochs 2" in capsys.readouterr().out


def test_files_named_by_the_data_configuration(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.write_data("toy", ["cat"], splits={"train": "train.txt"})
    Path("train.txt").write_text("a\n")
    Path("tags.csv").write_text("a,cat\n")
    asked = {"tags": "tags.csv"}
    bench.run(asked=asked, stages=(1,))
    bench.calls()
    assert bench.started_with("cam")["data"]["init_args"]["dataset"]["init_args"]["tags"] == str(
        Path("tags.csv").resolve()
    )
    for name in ("train.txt", "tags.csv"):
        Path(name).write_text("b\n")
        bench.run(stages=(1,))
        assert bench.started() == ALL[:2]
        assert f"{name} has changed" in capsys.readouterr().out


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


def test_results_that_were_deleted_are_made_again(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run() == 0
    bench.started()
    lost = bench.run_dir / "cam" / "out" / "a.npz"
    lost.unlink()
    assert bench.run() == 0
    assert f"gets back what it lacks: 1 results are gone ({lost.resolve()})" in capsys.readouterr().out
    assert bench.started() == ["cam:predict"] and lost.is_file()


def test_rerun_makes_a_step_and_its_readers_again(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run() == 0
    every = bench.started()
    assert bench.run(rerun=("cam",)) == 0
    assert "to be made again: asked for by --rerun" in capsys.readouterr().out
    assert bench.started() == every
    with pytest.raises(UserError, match="unknown step"):
        bench.run(rerun=("none",))
    bench.write("cluster/slurm.yaml", {})
    bench.run(rerun=("cam",), launcher="slurm", dry_run=True, extras=Extras(args=("--x", "1")))
    shown = capsys.readouterr().out
    assert "--rerun cam --step cam --devices 1 --nodes 1 --launcher srun -- --x 1" in shown


def test_rerun_holds_for_the_first_start_of_a_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a job that its time limit stops would begin again and again with nothing."""
    assert bench.run() == 0
    again = {"rerun": ("cam",), "steps": ("cam",), "launcher": "srun", "dry_run": True}
    bench.run(**again)
    assert "to be made again: asked for by --rerun" in capsys.readouterr().out
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    bench.run(**again)
    assert "skipped (done before)" in capsys.readouterr().out


def test_srun_without_slurm_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="no srun on this machine"):
        bench.run(launcher="srun")
    assert not (bench.run_dir / "cam").exists()


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


def test_missing_inputs_are_found_before_anything_starts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"step learn reads cam.*--data toy --budget full --stage 1"):
        bench.run(stages=(2,))
    assert bench.calls() == [] and not bench.run_dir.exists()
    monkeypatch.setenv("FAKE_FAIL", "cam:predict")
    bench.run(stages=(1,))
    bench.calls()
    with pytest.raises(UserError, match="step label reads cam, which is not complete"):
        bench.run(from_step="label")
    assert bench.calls() == []


def test_a_given_folder_is_read_in_place_of_the_recipes(
    bench: Bench, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    option, other = "data.init_args.labels_dir", tmp_path / "other" / "cam"
    bench.run(run_dir=other.parent, stages=(1,))
    given = {"extras": Extras(overrides={"model": {option: "other/cam"}}), "steps": ("model",)}
    bench.calls()
    # the recipe's own input, which nobody reads, need not be there
    assert bench.run(**given) == 0
    fit = next(words for words in bench.calls() if words[0] == "step")
    assert fit.count(f"--{option}") == 1 and _option(fit, f"--{option}") == str(other)
    bench.run(**given)
    assert bench.started() == []
    path = other / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"made": 0}))
    capsys.readouterr()
    bench.run(**given)
    assert bench.started() == ALL[4:]
    assert f"{option} has changed" in capsys.readouterr().out
    with pytest.raises(UserError, match=rf"--model.{option}: .*nowhere holds no finished step"):
        bench.run(extras=Extras(overrides={"model": {option: "nowhere"}}))
    assert bench.started() == []


@pytest.mark.parametrize(
    "extras",
    [
        Extras(overrides={"label": {"model.init_args.affinity_from": None}}),
        Extras(args=("--model.init_args.affinity_from", "null")),
    ],
)
def test_an_input_that_is_set_to_null_is_not_read(bench: Bench, extras: Extras) -> None:
    bench.run(stages=(1,))
    bench.calls()
    assert bench.run(steps=("label",), extras=extras) == 0
    label = next(words for words in bench.calls() if words[0] == "step")
    assert str(bench.run_dir / "learn") not in label
    assert str(bench.run_dir / "cam") in label


def test_settings_of_a_file_are_named_by_it(bench: Bench, tmp_path: Path) -> None:
    """They stood in ``origins.json``, and in messages, as options that nobody had typed."""

    def call(text: str, *words: str) -> int:
        file.write_text(text)
        parsed = build_parser("run").parse_args(["run", "toy", *words, "--settings", "mine.yaml"])
        return bench.run(extras=command._extras(parsed), stages=(1,))

    file = tmp_path / "mine.yaml"
    assert call("cam:\n  model: {init_args: {lr: 7, n: 1}}\n", "--cam.model.init_args.n", "2") == 0
    origins = json.loads((bench.run_dir / "cam" / "origins.json").read_text())
    assert origins["model.init_args.lr"] == f"{file}:2"
    assert origins["model.init_args.n"] == "--cam.model.init_args.n"
    assert bench.started_with("cam")["model"]["init_args"] == {"lr": 7, "of": "cam", "n": 2}
    with pytest.raises(UserError, match=rf"unknown step of toy 'cams'; did you mean cam\? \(in {file}:2\)"):
        call("# mine\ncams: {model: {}}\n")
    with pytest.raises(UserError, match=rf"unknown setting of cam 'modle.lr'; .* \(in {file}:1\)"):
        call("cam: {modle: {lr: 1}}\n")
    with pytest.raises(UserError, match=rf"^{file}:1 sets something of learn, which is not among"):
        call("learn: {model: {init_args: {lr: 1}}}\n")
    with pytest.raises(UserError, match=rf"unknown step of toy '3'; .* \(in {file}:1\)"):
        call("3: {}\n")  # YAML reads a number


def test_stages_and_from(bench: Bench) -> None:
    bench.run(stages=(1, 2))
    assert bench.started() == ALL[:4]
    bench.set("cam", lr=9)
    # earlier steps are inputs here, whatever their configuration says by now
    bench.run(from_step="model")
    assert bench.started() == ALL[4:]
    with pytest.raises(UserError, match=r"toy has no stage 1 from step label on; it has 2, 3"):
        bench.run(from_step="label", stages=(1,))
    with pytest.raises(UserError, match="unknown step of toy 'modle'; did you mean model"):
        bench.run(from_step="modle")
    with pytest.raises(UserError, match=r"--cam\.\.\. sets something of cam, which is not among the chosen"):
        bench.run(stages=(3,), extras=Extras(overrides={"cam": {"model.init_args.lr": 1}}))
    with pytest.raises(
        UserError, match=r"unknown step of toy 'modle'; did you mean model\? \(in --modle\.\.\.\)"
    ):
        bench.run(extras=Extras(overrides={"modle": {"model.init_args.lr": 1}}))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"variant": "short"}, "another recipe: toy, not toy:short"),
        ({"data": "other"}, "another data set: toy, not other"),
        ({"data_root": "elsewhere"}, "another data root: .*run.json"),
        ({"recipe": "twin"}, "another recipe: toy, not twin; choose another --run-dir; nothing"),
    ],
)
def test_run_folder_of_another_run(bench: Bench, asked: dict[str, str], message: str) -> None:
    bench.write_data("other", ["cat"])
    bench.page.with_name("twin.yaml").write_text(bench.page.read_text())
    bench.run(asked={"data_root": "here"}, stages=(1,))
    before = {p: p.stat().st_mtime_ns for p in bench.run_dir.rglob("*")}
    bench.calls()
    with pytest.raises(UserError, match=message):
        bench.run(asked=asked)
    assert bench.calls() == []
    assert {p: p.stat().st_mtime_ns for p in bench.run_dir.rglob("*")} == before


def test_changed_class_list(bench: Bench) -> None:
    bench.run(stages=(1,))
    bench.write_data("toy", ["cat", "dog"])
    with pytest.raises(UserError, match=r"another class list: \['cat'\], not \['cat', 'dog'\]"):
        bench.run()


def test_folder_that_is_no_run(bench: Bench) -> None:
    bench.run_dir.mkdir()
    (bench.run_dir / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="is not empty and is no run folder"):
        bench.run()
    for content, message in (
        ("{", ""),
        ('{"recipe": "psa", "data": ""}', "data is empty"),
        ('{"recipe": "psa", "data": "\\n", "budget": "tiny"}', "data is empty"),
        ('{"recipe": "psa", "data": null, "dataset": {"classes": {}}}', "data is missing"),
        ('{"recipe": "psa", "data": null, "budget": "tiny"}', "data is missing"),
        ('{"recipe": "psa", "data": "voc", "dataset": {"classes": {}}}', "budget is missing"),
    ):
        (bench.run_dir / "run.json").write_text(content)
        with pytest.raises(UserError, match=rf"cannot read .*run.json: {message}"):
            bench.run()


def test_settings_are_remembered(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.run(asked={"backbone": "resnet50", "budget": "tiny", "seed": 5}, stages=(1,))
    bench.calls()
    bench.run(asked={"data": None})
    calls = [c for c in bench.calls() if c[0] == "step"]
    assert [_named(c) for c in calls] == ALL[2:]
    assert bench.started_with("learn")["model"]["init_args"]["backbone"] == {"name": "resnet50"}
    assert bench.started_with("learn")["seed_everything"] == 5
    assert "changed since" not in capsys.readouterr().out
    bench.run(asked={"seed": 6})
    assert bench.started() == ALL
    assert "changed since the last run: seed 5 -> 6" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"data": None}, "name the data set with --data"),
        ({"data": "tyo"}, "unknown data configuration 'tyo'; did you mean toy"),
        ({"recipe": "tyo"}, "unknown recipe 'tyo'; did you mean toy"),
        ({"variant": "shrt"}, "unknown variant of toy 'shrt'; did you mean short"),
        ({"budget": "tny"}, "unknown budget of toy 'tny'; did you mean tiny"),
        ({"backbone": "resnet5"}, "--backbone: unknown backbone 'resnet5'; did you mean resnet50"),
        ({"weights": "no/such/file"}, "no weights no/such/file"),
        ({"tags": "no.csv"}, "no file no.csv"),
    ],
)
def test_mistakes(bench: Bench, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bench.run(asked=asked)
    assert bench.calls() == [] and not bench.run_dir.exists()


def test_own_data_configuration(bench: Bench) -> None:
    own = bench.write_data("toy", ["cat"]).rename("own.yaml")
    assert bench.run(asked={"data": "own.yaml"}, stages=(1,)) == 0
    calls = bench.calls()
    assert calls[0] == ["data", "check", "--data", str(own.resolve())]
    assert bench.started_with("cam")["data"]["init_args"]["dataset"]["init_args"]["classes"] == ["cat"]
    own.write_text("data: {}\n")
    with pytest.raises(UserError, match=r"own.yaml must set data.init_args.dataset.class_path"):
        bench.run(asked={"data": "own.yaml"})


def test_the_class_of_own_data_goes_to_what_reads_manifests(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    own = bench.write_data("toy", ["cat"]).rename("own.yaml")
    page = yaml.safe_load(own.read_text())
    page["data"]["init_args"]["dataset"]["class_path"] = "mine.Photos"
    own.write_text(yaml.safe_dump(page, sort_keys=False))
    # the runner finds the class in the working folder, as a step does, and does not import it
    own.with_name("mine.py").write_text("raise RuntimeError\n\n\nclass Photos(ImageSet): ...\n")
    bench.run(asked={"data": "own.yaml"}, dry_run=True)
    printed = capsys.readouterr().out
    assert f"score-step {bench.run_dir}/cam --data-class mine.Photos\n" in printed
    assert f"report {bench.run_dir} --data-class mine.Photos\n" in printed


def test_dry_run_starts_and_writes_nothing(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run(dry_run=True) == 0
    assert bench.calls() == [["data", "sizes", "--data", "toy"]] and not bench.run_dir.exists()
    printed = capsys.readouterr().out.splitlines()
    assert printed[1] == "# [1/4] cam  to be made"
    assert sum(line.startswith("# [") for line in printed) == 4
    assert [line.split()[1] for line in printed if re.match("#   (cam|learn|label|model|all) ", line)] == [
        "cam", "learn", "label", "model", "all",
    ]  # fmt: skip
    bench.run(stages=(1,))
    (real,) = [c for c in bench.calls() if c[:3] == ["step", "classifier", "fit"]]
    assert shlex.split(printed[2]) == [*PROGRAM, *real]
    capsys.readouterr()
    bench.run(dry_run=True)
    assert "# [1/4] cam  skipped (done before)" in capsys.readouterr().out
    bench.set("cam", lr=9)
    bench.run(dry_run=True)
    printed = capsys.readouterr().out
    assert "# [1/4] cam  to be made again: model.init_args.lr 0.1 -> 9\n" in printed
    assert not (bench.run_dir / "cam.previous").exists()


def test_a_run_that_does_not_fit_is_refused_with_numbers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_SIZES", json.dumps({"counts": {"train": 10**9, "val": 1}}))
    with pytest.raises(
        UserError, match=r"leaves about \d+\.\d GB and \d.* are free there: make room .*"
    ) as error:
        bench.run()
    assert "nothing was started; --no-check goes on all the same" in str(error.value)
    assert [words[:2] for words in bench.calls()] == [["data", "check"], ["data", "sizes"]]
    assert not (bench.run_dir / "cam").exists()
    assert bench.run(dry_run=True) == 0
    assert "#   does not fit, and would be refused:\n#   the run leaves about" in capsys.readouterr().out
    assert bench.run(check=False) == 0


def test_without_sizes_there_is_no_estimate(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_FAIL", "data")
    assert bench.run(dry_run=True) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "#   no estimate: data is broken"


def test_scores_on_every_image_where_the_papers_are(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.run(dry_run=True)
    assert f"score-step {bench.run_dir}/cam\n" in capsys.readouterr().out
    page = yaml.safe_load(bench.page.read_text())
    bench.page.write_text(yaml.safe_dump({**page, "paper": {"every_image": True}}, sort_keys=False))
    bench.run(dry_run=True)
    assert f"score-step {bench.run_dir}/cam --every-image\n" in capsys.readouterr().out


def test_a_score_outside_the_papers_range_is_named(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    page = yaml.safe_load(bench.page.read_text())
    paper = {"targets": {"cam": 48.0}, "ranges": {"cam": [46, 50]}}
    bench.page.write_text(yaml.safe_dump({**page, "paper": paper}, sort_keys=False))
    bench.write_data("voc_aug", ["cat"])
    assert bench.run(asked={"data": "voc_aug"}, stages=[1]) == 0
    assert (
        "\n  ! cam 64.0: the paper has 48.0, expected are 46 to 50; check weights" in capsys.readouterr().out
    )


def test_steps_of_another_run_are_copied_where_they_would_be_the_same(
    bench: Bench, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert bench.run() == 0
    bench.calls()
    other = {"run_dir": tmp_path / "variant", "reuse": (bench.run_dir,)}
    asked = {"variant": "bare"}
    bench.run(asked=asked, dry_run=True, **other)
    assert f"# [1/4] cam  to be copied from {bench.run_dir / 'cam'}" in capsys.readouterr().out
    assert bench.run(asked=asked, **other) == 0
    # the variant changes the labels, and with them what is learned from them
    assert bench.started() == ["label:predict", "model:fit", "model:predict"]
    printed = capsys.readouterr().out
    assert f"[2/4] learn  copied from {bench.run_dir / 'learn'}" in printed
    assert "[1/4] cam  copied from" in printed and "mIoU 66.0" in printed
    assert read(tmp_path / "variant/cam") == read(bench.run_dir / "cam")
    # done now, with or without the other run
    assert bench.run(asked=asked, run_dir=tmp_path / "variant") == 0
    assert bench.started() == []


def test_the_way_to_missing_inputs_copies_them_too(bench: Bench, tmp_path: Path) -> None:
    """Without --reuse the command would train again what the other run has."""
    assert bench.run(stages=(1,)) == 0
    with pytest.raises(
        UserError, match=rf"reads cam, .*: tag2mask run .* --stage 1 --reuse {bench.run_dir}$"
    ):
        bench.run(run_dir=tmp_path / "other", reuse=(bench.run_dir,), stages=(2,))


def test_steps_made_otherwise_are_not_copied(bench: Bench, tmp_path: Path) -> None:
    assert bench.run(stages=(1,)) == 0
    bench.calls()
    other = {"run_dir": tmp_path / "other", "reuse": (bench.run_dir,)}
    assert bench.run(asked={"seed": 7}, stages=(1,), **other) == 0
    assert bench.started() == ALL[:2]
    with pytest.raises(UserError, match=r"--reuse .*nowhere: there is no run"):
        bench.run(run_dir=tmp_path / "new", reuse=(tmp_path / "nowhere",))
    assert not (tmp_path / "new").exists()


def read(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_devices_that_cannot_share_a_batch_are_refused_with_those_that_can(bench: Bench) -> None:
    batch = "data.init_args.batch_size"
    overrides: dict[str, dict[str, Any]] = {"cam": {batch: 16}, "learn": {batch: 8}, "model": {batch: 10}}
    extras = Extras(devices=Devices(8), overrides=overrides)
    with pytest.raises(UserError, match=r"step model: a batch of 10 images .* among 8 devices") as error:
        bench.run(extras=extras)
    assert "with 1, 2, 5, 10 devices" in str(error.value) and "step cam" not in str(error.value)
    assert "every step of this run can be made on 1 or 2 devices" in str(error.value)
    assert not bench.run_dir.exists()
    with pytest.raises(UserError, match=r"batch of 16 images .* among 12 devices"):  # on three machines
        bench.run(extras=replace(extras, devices=Devices(4, 3)), dry_run=True)
    overrides["model"]["trainer.devices"] = 5
    assert bench.run(extras=extras) == 0
    steps = {_named(c): c for c in bench.calls() if c[0] == "step"}
    assert _option(steps["cam:fit"], "--trainer.devices") == "8"
    assert _option(steps["model:fit"], "--trainer.devices") == "5"
    # neither the devices of a run nor those of a step change what it is
    del overrides["model"]["trainer.devices"]
    assert bench.run(extras=replace(extras, devices=Devices(3))) == 0
    assert bench.started() == []


def test_torchrun(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.run(dry_run=True, launcher="torchrun", extras=Extras(devices=Devices(2)), stages=(1,))
    words = shlex.split(capsys.readouterr().out.splitlines()[2])
    assert words[:7] == [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(FAKE),
    ]  # fmt: skip
    assert _option(words, "--trainer.devices") == "2"


def test_srun(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.run(dry_run=True, launcher="srun", extras=Extras(devices=Devices(2)), stages=(1,))
    words = shlex.split(capsys.readouterr().out.splitlines()[2])
    assert words[:4] == ["srun", "--nodes=1", "--ntasks=2", "--ntasks-per-node=2"]


def test_options_of_the_command_line() -> None:
    words = ["run", "toy:short", "--data", "voc", "--stage", "1", "2", "--cam.model.init_args.lr=1e-3"]
    words += ["--cam.data.init_args.x", "-1", "--learn.model.init_args.y", "[1, null]"]
    words += ["--sbatch-args", "--time=1", "--", "--trainer.max_epochs", "1", "--", "x"]
    parsed = build_parser("run").parse_args(words)
    assert (
        parsed.recipe == "toy:short" and parsed.stage == [1, 2] and parsed.sbatch_args.strip() == "--time=1"
    )
    assert parsed.overrides == {
        "cam": {"model.init_args.lr": 0.001, "data.init_args.x": -1},
        "learn": {"model.init_args.y": [1, None]},
    }
    assert parsed.extra == ["--trainer.max_epochs", "1", "--", "x"]
    assert build_parser("run").parse_args(["run", "toy"]).extra == []
    with pytest.raises(UserError, match=r"--cam.model.init_args.lr needs a value"):
        build_parser("run").parse_args(["run", "toy", "--cam.model.init_args.lr"])
    with pytest.raises(SystemExit):
        build_parser("run").parse_args(["run", "toy", "--epochs", "1"])


def test_replaced_images_and_masks_make_their_steps_again(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run() == 0
    image, mask = tmp_path / "a.jpg", tmp_path / "a.png"
    for path in (image, mask):
        path.write_bytes(b"old")
    note_sources(bench.run_dir / "cam" / "sources.json", [image])
    note_sources(bench.run_dir / "label" / "score_sources.json", [mask])
    bench.calls()
    assert bench.run() == 0
    assert bench.started() == []
    mask.write_bytes(b"another")
    assert bench.run() == 0
    assert [Path(words[1]).name for words in bench.calls() if words[0] == "score-step"] == ["label"]
    os.utime(image, ns=(5, 5))
    assert bench.run() == 0 and bench.started() == []
    assert json.loads((bench.run_dir / "sources.json").read_text())[str(image)][1] == 5
    image.write_bytes(b"another")
    capsys.readouterr()
    assert bench.run() == 0
    assert bench.started() == ALL
    assert f"[1/4] cam  to be made again: {image} has other content now" in capsys.readouterr().out


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


def test_files_of_moved_data_are_told_where_they_lie_now(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that reuses another one's steps, and one whose data have moved, on images of the same names."""
    for root in ("old", "new"):
        (tmp_path / root).mkdir()
        (tmp_path / root / "a.jpg").write_bytes(b"one")
        (tmp_path / root / "a.png").write_bytes(b"mask")
    assert bench.run(asked={"data_root": "old"}, stages=(1,)) == 0
    note_sources(bench.run_dir / "cam" / "sources.json", [tmp_path / "old" / "a.jpg"])
    note_sources(bench.run_dir / "cam" / "score_sources.json", [tmp_path / "old" / "a.png"])
    bench.calls()
    asked = {"data_root": "new"}
    other = {"asked": asked, "reuse": (bench.run_dir,), "stages": (1,)}
    assert bench.run(run_dir=tmp_path / "same", **other) == 0 and bench.started() == []
    (tmp_path / "new" / "a.png").write_bytes(b"other mask")
    assert bench.run(run_dir=tmp_path / "scored", **other) == 0
    assert [Path(words[1]).name for words in bench.calls() if words[0] == "score-step"] == ["cam"]
    (tmp_path / "new" / "a.jpg").write_bytes(b"two")
    assert bench.run(run_dir=tmp_path / "other", **other) == 0
    assert bench.started() == ALL[:2]
    remembered = bench.run_dir / "run.json"
    remembered.write_text(remembered.read_text().replace(str(tmp_path / "old"), str(tmp_path / "new")))
    capsys.readouterr()
    assert bench.run(asked=asked, stages=(1,)) == 0 and bench.started() == ALL[:2]
    assert f"{tmp_path / 'new' / 'a.jpg'} has other content now" in capsys.readouterr().out


def test_a_file_of_config_behind_the_dashes_is_told_by_its_content(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    page = bench.write("mine.yaml", {"trainer": {"max_epochs": 2}})
    extras = Extras(args=("--config", str(page)))
    assert bench.run(stages=(1,), extras=extras) == 0 and bench.started() == ALL[:2]
    assert bench.run(stages=(1,), extras=extras) == 0 and bench.started() == []
    bench.write("mine.yaml", {"trainer": {"max_epochs": 3}})
    capsys.readouterr()
    assert bench.run(stages=(1,), extras=extras) == 0 and bench.started() == ALL[:2]
    assert f"[1/4] cam  to be made again: {page} has changed" in capsys.readouterr().out


def test_a_list_that_is_gone_is_named(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.write_data("toy", ["cat"], splits={"train": "train.txt"})
    Path("train.txt").write_text("a\n")
    bench.run(stages=(1,))
    Path("train.txt").unlink()
    capsys.readouterr()
    bench.run(stages=(1,), dry_run=True)
    assert "cam  to be made again: train.txt is gone or no longer read" in capsys.readouterr().out


def test_what_killed_processes_left_is_cleared_away(bench: Bench) -> None:
    assert bench.run() == 0
    strays = [bench.run_dir / ".run.json.abcdefgh.tmp", bench.run_dir / "cam" / ".score.json.abcdefgh.tmp"]
    for stray in strays:
        stray.touch()
    assert bench.run() == 0
    assert not any(stray.exists() for stray in strays)


def test_signal_between_two_commands_stops_the_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = runner.write_input

    def write_input(folder: Path, command: str, fingerprint: str, parts: Any) -> None:
        kept(folder, command, fingerprint, parts)
        if folder.name == "learn":
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(runner, "write_input", write_input)
        assert bench.run() == 75
    assert "stopped; go on with: tag2mask run toy" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before
    bench.calls()
    assert bench.run() == 0
    assert bench.started() == ALL[2:]


def test_the_same_page_in_another_folder_is_told_apart_with_a_way_out(bench: Bench) -> None:
    """A run that was copied to another machine, with its pages: it said to choose another --run-dir."""
    for folder in (bench.conf / "here", bench.conf / "there"):
        folder.mkdir()
        (folder / "own.yaml").write_text(bench.page.read_text())
        (folder / "photos.yaml").write_text((bench.conf / "data" / "toy.yaml").read_text())
    here, there = (
        {"recipe": f"conf/{at}/own.yaml", "data": f"conf/{at}/photos.yaml"} for at in ("here", "there")
    )
    assert bench.run(asked=here, stages=(1,)) == 0
    with pytest.raises(UserError, match=r"if the same page has moved, correct recipe in .*run\.json"):
        bench.run(asked=there)
    with pytest.raises(
        UserError, match=r"if the same data configuration has moved, correct data in .*run\.json"
    ):
        bench.run(asked=here | {"data": there["data"]})
    note = bench.run_dir / "run.json"
    note.write_text(note.read_text().replace("/here/", "/there/"))
    bench.calls()
    assert bench.run(asked=there, stages=(1,)) == 0
    assert bench.started() == []


@pytest.mark.parametrize(
    ("what", "name", "content"), [("weights", "w.pth", b"\x80"), ("tags", "w.csv", b"a,cat\n")]
)
def test_a_remembered_file_that_is_gone_is_named(bench: Bench, what: str, name: str, content: bytes) -> None:
    """It was a folder that one may not write to."""
    file = bench.run_dir.with_name(name)
    file.write_bytes(content)
    assert bench.run(asked={what: str(file)}, stages=(1,)) == 0
    moved = file.rename(file.with_name(f"moved{file.suffix}"))
    with pytest.raises(UserError, match=rf"{name}: --{what} takes .*\(remembered as {what} of .*run.json"):
        bench.run(stages=(1,))
    assert bench.run(asked={what: str(moved)}, stages=(1,)) == 0


def test_a_page_in_place_of_weights_stops_a_run_before_its_first_step(bench: Bench) -> None:
    """It was found when the first network was built, after the check of the data."""
    file = bench.run_dir.with_name("w.pth")
    file.write_bytes(b"<html>Sign in</html>")
    with pytest.raises(UserError, match=r"w\.pth: cannot be read: it is a web page"):
        bench.run(asked={"weights": str(file)}, stages=(1,))
    assert bench.calls() == []


@pytest.mark.parametrize(("value", "typed"), [(".inf", ".inf"), ("2026-11-28", '"2026-11-28"')])
def test_settings_without_a_form_in_json(
    bench: Bench, value: str, typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Infinite numbers and dates ended in a traceback, and in the way on that a stopped run prints."""
    words = ["run", "toy", "--data", "toy", "--cam.model.init_args.lr", value]
    overrides = build_parser("run").parse_args(words).overrides
    (bench.run_dir.with_name("fail")).write_text("label:predict")
    extras = Extras(overrides=overrides)
    bench.run(extras=extras)
    bench.calls()
    assert bench.run(extras=extras) == 0 and "cam:fit" not in bench.started()
    words = runner.resume_words(bench.request(extras=extras), begun=True)
    assert words[-2:] == ["--cam.model.init_args.lr", typed]
    assert build_parser("run").parse_args(words[1:]).overrides == overrides
    capsys.readouterr()
    bench.run(stages=(1,))
    assert f"lr {'Infinity' if value == '.inf' else value} -> 0.1" in capsys.readouterr().out
