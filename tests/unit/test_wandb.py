"""Weights & Biases: what is written offline, read back from its files."""

from __future__ import annotations

import json
import os
import runpy
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb.proto import wandb_internal_pb2

from tag2mask.artifacts import read_manifest, wandb_identity, wandb_mode, wandb_project
from tag2mask.callbacks import WandbRun
from tag2mask.cli import main
from tag2mask.core import UserError
from tag2mask.report import read_runs, tracking
from tag2mask.report.tracking import Tracker, log_run, log_trial
from tests.conftest import ROOT
from tests.report_runs import make_images, make_run

SETTINGS = "model: {init_args: {optimization: {lr: 0.01}}}\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose step ``labels`` was trained with the logger, and is then logged with its scores."""
    root = tmp_path_factory.mktemp("wandb")
    run = make_run(root / "night", make_images(root / "images"))
    for other in ("a_model", "z_cam", "walk"):
        (run / other).rename(root / other)
    (run / "labels" / "settings.yaml").write_text(SETTINGS)
    wandb.finish()  # a logger joins the run that is open in its process: an earlier test may have left one
    logger = WandbRun(str(run / "labels"), project="animals", offline=True, tags=["test"])
    logger.log_hyperparams({"lr": 99})
    logger.log_metrics({"train/loss": 0.25}, step=3)
    logger.experiment.finish()
    time.sleep(1.1)  # the folder of a process is named by the second
    assert log_run(read_runs([run])[0], Tracker("animals", True, images=2)) == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_RUN_ID", "agent7")
        log_trial(read_runs([run])[0], Tracker("animals", True))
    wandb.teardown()  # as at the end of a process: what the service still holds goes to the files
    return run


def records(path: Path) -> Iterator[Any]:
    """The records of a file of wandb: seven bytes, then blocks of 32 KiB with checksum, length and kind."""
    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        whole, at = whole + data[at + 7 : at + 7 + size], at + 7 + size
        if kind in (1, 4):  # the record is whole, or this is its last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def parts(run: Path) -> list[list[Any]]:
    """The records of each process that logged ``labels``, in order."""
    return [
        list(records(path)) for path in sorted(run.glob("labels/wandb/offline-run-*/run-*.wandb"), key=age)
    ]


def age(path: Path) -> float:
    return path.stat().st_mtime


def of_kind(found: list[Any], kind: str) -> list[Any]:
    return [getattr(record, kind) for record in found if record.WhichOneof("record_type") == kind]


def flat(updates: Any) -> dict[str, Any]:
    return {u.key or "/".join(u.nested_key): json.loads(u.value_json) for u in updates}


def summary(found: list[Any]) -> dict[str, Any]:
    return {key: value for item in of_kind(found, "summary") for key, value in flat(item.update).items()}


def test_a_step_is_one_run_of_its_group(run: Path) -> None:
    first, second = (of_kind(part, "run")[0] for part in parts(run))
    for found in (first, second):
        assert (found.project, found.run_group, found.job_type) == ("animals", "night", "labels")
        assert found.display_name == "night/labels" and found.resume
    assert first.run_id == second.run_id == (run / "labels" / "wandb_id.txt").read_text().strip()
    assert list(first.tags) == ["test"]


def test_config_is_the_resolved_settings_in_both_parts(run: Path) -> None:
    for part in parts(run):
        config = flat(of_kind(part, "run")[0].config.update)
        assert config["model"] == {"init_args": {"optimization": {"lr": 0.01}}}
        assert "lr" not in {key for item in of_kind(part, "config") for key in flat(item.update)}


def test_losses_scores_and_costs(run: Path) -> None:
    first, second = parts(run)
    history = [flat(item.item) for item in of_kind(first, "history")]
    assert any(row.get("train/loss") == 0.25 for row in history)
    found = summary(second)
    assert (found["score/miou"], found["score/coverage"]) == (0.6, 0.95)
    assert (found["cost/predict_seconds"], found["cost/predict_peak_memory_mb"]) == (61.0, 512.0)
    assert found["speed/predict_images_per_s"] == pytest.approx(3 / 61)


def test_pictures_have_masks_with_names_and_classes_a_table(run: Path) -> None:
    (media,) = run.glob("labels/wandb/offline-run-*/files/media")
    assert len(list(media.glob("images/*.png"))) == 2
    # labels and truth; equal masks, such as those of these two images, share a file
    assert len(list(media.glob("images/mask/*.png"))) == 2
    config = [flat(item.update)["_wandb"] for item in of_kind(parts(run)[1], "config")]
    names = [entry["value"] for entry in config[-1]["mask/class_labels"].values()]
    assert names and all(n == {"0": "background", "8": "cat", "12": "dog", "255": "unknown"} for n in names)
    (table,) = media.glob("table/*.json")
    assert json.loads(table.read_text())["data"] == [["background", 0.9], ["cat", 0.6], ["dog", None]]


def test_artifact_names_its_inputs(run: Path) -> None:
    (found,) = (a for a in of_kind(parts(run)[1], "artifact") if a.type == "labels")
    manifest = read_manifest(run / "labels")
    assert found.name == "night-labels" and manifest
    assert json.loads(found.metadata)["inputs"] == manifest.parents == {"walk": "0"}
    assert {entry.path for entry in found.manifest.contents} == {"manifest.json", "score.json"}


def test_the_view_shows_what_is_logged(run: Path) -> None:
    """Its panels ask for keys by name: one that no run has would stay empty, without a word."""
    pytest.importorskip("wandb_workspaces")
    view = runpy.run_path(str(ROOT / "docs" / "wandb_workspace.py"))["workspace"]("team", "animals")
    shown = view._to_model().model_dump_json()
    first, second = parts(run)
    logged = {key for item in of_kind(first, "history") for key in flat(item.item)} | set(summary(second))
    logged |= {key.split("/")[0] for key in logged}  # tables and pictures have several entries each
    named = {key for key in logged if f'"{key}"' in shown}
    assert named >= {
        "train/loss", "score/miou", "score/precision", "score/coverage", "classes", "images",
        "cost/predict_seconds", "cost/predict_peak_memory_mb",
    }  # fmt: skip


def test_a_trial_is_the_run_of_the_agent(run: Path) -> None:
    (path,) = run.glob("wandb/offline-run-*/run-agent7.wandb")
    assert summary(list(records(path)))["labels/miou"] == 0.6


def test_no_key_is_saved_and_no_account_means_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="api_key would be saved"):
        WandbRun(str(tmp_path), settings={"api_key": "secret"})
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    assert wandb_mode(None) == "offline" and wandb_mode(False) == "online"
    monkeypatch.setenv("WANDB_API_KEY", "k")
    assert wandb_mode(None) == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")  # as on the nodes of a cluster, whose users have accounts
    assert wandb_mode(None) == "offline"
    monkeypatch.setenv("WANDB_MODE", "online")
    assert wandb_mode(None) == "online"


@pytest.fixture
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of wandb, and no login."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("value", "mode"),
    [("OFFLINE", "offline"), ("dryrun", "offline"), ("disabled", "disabled"), ("", "offline")],
)
def test_modes_of_wandb(value: str, mode: str, no_account: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Capitals meant online, and who had switched wandb off got its files."""
    monkeypatch.setenv("WANDB_MODE", value)
    assert wandb_mode(None) == mode


def test_an_unknown_mode_is_refused(no_account: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "of")
    with pytest.raises(UserError, match="WANDB_MODE is 'of': set it to online, offline or disabled"):
        wandb_mode(None)


def test_an_empty_key_is_none(no_account: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "")
    assert wandb_mode(None) == "offline"


@pytest.mark.parametrize("logger", [False, True])
def test_what_wandb_refuses_is_one_message(
    logger: bool, no_account: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise wandb.errors.AuthenticationError("API key must have 40+ characters, has 3.")

    monkeypatch.setattr(wandb, "init", refuse)
    monkeypatch.setenv("WANDB_API_KEY", "abc")
    with pytest.raises(UserError, match=r"Weights & Biases: API key must have 40.*WANDB_MODE=offline"):
        if logger:
            WandbRun(str(tmp_path)).log_metrics({"a": 1.0})
        else:
            Tracker().open()


def test_wandb_that_is_switched_off_writes_nothing(
    no_account: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = WandbRun(str(tmp_path / "run" / "cam"))
    logger.log_metrics({"a": 1.0})
    logger.experiment.finish()
    assert main(["wandb", str(tmp_path / "run")]) == 0
    assert "nothing is written" in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.wandb"))


def test_the_project_is_that_of_a_sweeps_agent(no_account: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial was logged to the project tag2mask, and its sweep waited for it in another one."""
    monkeypatch.setenv("WANDB_PROJECT", "sweeps")
    assert wandb_project("tag2mask") == "sweeps" and wandb_project("animals") == "animals"


def test_files_of_artifacts_lie_in_the_run(
    no_account: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They lay in the home: a container may have none, and a node that uploads may have another one."""
    monkeypatch.setenv("HOME", "/proc/none")
    run = make_run(tmp_path / ("läufe" + 120 * "x"), make_images(tmp_path / "images"))
    (run / "labels").rename(tmp_path / "labels")
    assert main(["wandb", str(run), "--offline", "--images", "0"]) == 0
    wandb.teardown()
    assert list((run / "wandb" / "artifacts" / "staging").iterdir())
    assert "WANDB_DATA_DIR" not in os.environ


def test_an_empty_id_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "wandb_id.txt").write_text("\n")
    assert wandb_identity(tmp_path)["id"] == wandb_identity(tmp_path)["id"] != ""


@pytest.mark.parametrize(("words", "folders"), [((), "run/*"), (("--one-run",), "run")])
def test_the_last_line_names_the_folders_to_upload(
    words: tuple[str, ...],
    folders: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "run", make_images(tmp_path / "images"))
    monkeypatch.setattr(tracking, "log_run", lambda *_: [])
    monkeypatch.setattr(tracking, "log_trial", lambda *_: None)
    assert main(["wandb", "run", "--offline", *words]) == 0
    assert capsys.readouterr().out.endswith(f"wandb sync {folders}/wandb/offline-run-*\n")
