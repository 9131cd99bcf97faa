"""The runner with real processes: what it skips, makes again, or takes from another run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tag2mask.artifacts import note_sources
from tag2mask.cli import build_parser
from tag2mask.core import UserError
from tag2mask.pipeline import Devices, Extras, runner
from tests.pipeline.toy_recipe import ALL, Bench, value_of


def read(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


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


def test_a_start_that_made_nothing_takes_no_place_of_old_results(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in a setting, and its correction, left an empty folder of what had taken hours."""
    bench.run()
    first = bench.manifest("label")["made"]
    bench.set("label", lr=-1)
    with monkeypatch.context() as patch:
        patch.setenv("FAKE_FAIL", "label:predict")
        assert bench.run() == 2
    shutil.rmtree(bench.run_dir / "label" / "checkpoints")  # as in a real step, before its first image
    bench.set("label", lr=0.5)
    assert bench.run() == 0
    kept = json.loads((bench.run_dir / "label.previous" / "manifest.json").read_text())
    assert kept["made"] == first and bench.manifest("label")["made"] != first


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


def test_steps_before_the_chosen_ones_that_would_be_made_again_are_named(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--stage 3` worked on the maps of other images, or of an earlier page, without a word."""
    image = tmp_path / "a.jpg"
    image.write_bytes(b"old")
    once = Extras(overrides={"learn": {"model.init_args.lr": 0.3}}, args=("--trainer.max_epochs", "2"))
    assert bench.run(stages=(1,), extras=Extras(args=once.args, precision="bf16-mixed")) == 0
    assert bench.run(stages=(2,), extras=once) == 0
    note_sources(bench.run_dir / "cam" / "sources.json", [image])
    capsys.readouterr()
    assert bench.run(stages=(3,)) == 0
    assert "note:" not in capsys.readouterr().out  # what a call gave to steps is not remembered
    image.write_bytes(b"another")
    bench.set("learn", nested={"a": 1})
    bench.calls()
    for dry_run, mark in ((True, "# note: "), (False, "note: ")):
        assert bench.run(steps=("model",), dry_run=dry_run) == 0
        printed = capsys.readouterr().out
        again = "stays as it is, although it would be made again"
        assert f"{mark}cam {again}: {image} has other content now; to make it and what" in printed
        assert f"{mark}learn {again}: model.init_args.nested.a not set -> 1; to make it" in printed
        assert f"label {again}" not in printed
    assert bench.started() == []  # they are read as they are
    assert bench.run(stages=(1,)) == 0
    capsys.readouterr()
    assert bench.run(stages=(3,)) == 0
    assert "note: label stays as it is, although it would be made again: cam was made again" in (
        capsys.readouterr().out
    )


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
    assert fit.count(f"--{option}") == 1 and value_of(fit, f"--{option}") == str(other)
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
