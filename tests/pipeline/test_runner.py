"""The runner with real processes: what it starts, prints and scores, and on which machines."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tag2mask.cli import build_parser
from tag2mask.core import UserError
from tag2mask.pipeline import Devices, Extras, command
from tests.pipeline.toy_recipe import ALL, FAKE, PROGRAM, Bench, named, value_of


def test_all_steps_in_order_and_then_nothing(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run() == 0
    calls = bench.calls()
    assert calls[:2] == [["data", "check", "--data", "toy"], ["data", "sizes", "--data", "toy"]]
    assert [named(c) if c[0] == "step" else f"{c[0]} {Path(c[1]).name}" for c in calls[2:]] == [
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
    steps = {named(c): c for c in bench.calls() if c[0] == "step"}
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
    assert value_of(label, "--data.init_args.maps_dir") == f"{run}/cam"
    assert value_of(label, "--model.init_args.affinity_from") == f"{run}/learn"
    # a step that trains nothing has no backbone; the variant and the command line set the rest
    changed = {"lr": 0.1, "of": "label", "refinements": None, "x": 1}
    assert bench.started_with("label")["model"] == {"init_args": changed}


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
    steps = {named(c): c for c in bench.calls() if c[0] == "step"}
    assert value_of(steps["cam:fit"], "--trainer.devices") == "8"
    assert value_of(steps["model:fit"], "--trainer.devices") == "5"
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
    assert value_of(words, "--trainer.devices") == "2"


def test_srun(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.run(dry_run=True, launcher="srun", extras=Extras(devices=Devices(2)), stages=(1,))
    words = shlex.split(capsys.readouterr().out.splitlines()[2])
    assert words[:4] == ["srun", "--nodes=1", "--ntasks=2", "--ntasks-per-node=2"]


def test_srun_without_slurm_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="no srun on this machine"):
        bench.run(launcher="srun")
    assert not (bench.run_dir / "cam").exists()


def test_processes_are_told_of_no_others_but_by_their_launcher(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a shell of ``salloc -n 4``, the first step ended: "You set --ntasks=4 in your SLURM bash script"."""
    for name, value in {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "mine", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text('#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift; done\nexec "$@"\n')
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{srun.parent}:{os.environ['PATH']}")
    for launcher, told in (("local", ""), ("srun", " SLURM_NTASKS RANK")):
        assert bench.run(launcher=launcher, stages=(1,), run_dir=tmp_path / launcher) == 0
        assert f"cam fit over{told}\n" in (tmp_path / launcher / "cam" / "log.txt").read_text()


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
