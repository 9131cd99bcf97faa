"""The command line of a step: overrides, saved configuration, resuming, and what bad input gets."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tag2mask.artifacts import load_maps, read_manifest
from tag2mask.core import ClassList, UserError
from tag2mask.data import VOC
from tag2mask.modules import Classifier, load_checkpoint
from tag2mask.report import Step
from tag2mask.report.training import read_history
from tag2mask.step import main
from tests.pipeline.conftest import PowerCut
from tests.step_files import step_file

CONF = Path(__file__).resolve().parents[2] / "conf"
LIGHT = {
    "trainer.accelerator": "cpu",
    "trainer.max_epochs": "1",
    "trainer.limit_train_batches": "1",
    "trainer.enable_progress_bar": "false",
    "trainer.enable_model_summary": "false",
    "trainer.num_sanity_val_steps": "0",
    "model.init_args.backbone.name": "resnet10t",
    "model.init_args.backbone.weights": "none",
    "model.init_args.backbone.frozen": "[]",
    "model.init_args.cam.scales": "[1.0, 1.5]",
    "data.init_args.batch_size": "4",
    "data.init_args.augment.crop": "64",
    "data.init_args.num_workers": "0",
}


def _args(command: str, root: Path, step_dir: Path, **changes: str) -> list[str]:
    config = step_file(step_dir.parent / "cam.yaml", "psa", "cam", "small", "voc")
    args = [command, "--config", str(config), "--config", str(CONF / "logger" / "csv.yaml")]
    options = {**LIGHT, "step-dir": str(step_dir), "data.init_args.dataset.init_args.root": str(root)}
    options |= {key.replace("__", "."): value for key, value in changes.items()}
    return args + [word for key, value in options.items() for word in (f"--{key}", value)]


@pytest.fixture(scope="module")
def fitted(tiny_voc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A step folder with a fitted classifier and its maps."""
    step = tmp_path_factory.mktemp("run") / "cam"
    assert main("classifier", _args("fit", tiny_voc, step)) == 0
    assert main("classifier", _args("predict", tiny_voc, step)) == 0
    return step


def test_step_folder_holds_what_the_design_promises(fitted: Path) -> None:
    names = {p.name for p in fitted.iterdir()}
    assert {"fit.yaml", "predict.yaml", "checkpoints", "out", "manifest.json", "metrics.json"} <= names
    manifest = read_manifest(fitted)
    assert manifest is not None and manifest.complete and manifest.kind == "maps"
    assert sorted(p.stem for p in (fitted / "out").glob("*.npz")) == sorted(manifest.image_ids)
    assert set(manifest.commands) == {"fit", "predict"}
    assert all(r.complete and r.seconds > 0 and r.peak_memory_mb > 0 for r in manifest.commands.values())


def test_metrics_have_map_f1_and_the_fixed_threshold(fitted: Path) -> None:
    metrics = json.loads((fitted / "metrics.json").read_text())
    assert {"val/mAP", "val/F1", "val/mAP/bird", "cam_threshold"} <= set(metrics)


def test_short_trainings_have_a_curve(fitted: Path) -> None:
    """One step of training; Lightning's own interval of 50 steps would leave no point."""
    history = read_history(Step("cam", fitted, read_manifest(fitted) or pytest.fail("no manifest")))
    assert [at for at, _ in history["train/loss"]] == [0] and "val/mAP" in history


def test_override_reaches_the_step_and_the_saved_configuration(tiny_voc: Path, tmp_path: Path) -> None:
    args = _args("fit", tiny_voc, tmp_path / "cam", model__init_args__optimization__lr="0.02")
    assert main("classifier", args) == 0
    saved = yaml.safe_load((tmp_path / "cam" / "fit.yaml").read_text())
    # The other fields stay as the two configuration files have them.
    assert saved["model"]["init_args"]["optimization"] == {
        "optimizer": "torch.optim.AdamW",
        "optimizer_args": {},
        "lr": 0.02,
        "weight_decay": 0.01,
        "poly_power": 0.9,
        "new_layer_factor": 10.0,
    }
    checkpoint = torch.load(tmp_path / "cam" / "checkpoints" / "last.ckpt", weights_only=True)
    first = checkpoint["optimizer_states"][0]["param_groups"][0]
    assert first["initial_lr"] == pytest.approx(0.02)


def test_a_field_of_an_object_can_be_null(tiny_voc: Path, tmp_path: Path) -> None:
    changes = {"data__init_args__augment__long_side": "null", "data__init_args__augment__scale": "[0.5,0.9]"}
    assert main("classifier", _args("fit", tiny_voc, tmp_path / "cam", **changes)) == 0
    augment = yaml.safe_load((tmp_path / "cam" / "fit.yaml").read_text())["data"]["init_args"]["augment"]
    assert (augment["long_side"], augment["scale"], augment["crop"]) == (None, [0.5, 0.9], 64)


def test_saved_configuration_repeats_the_command(fitted: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    assert main("classifier", ["fit", "--config", str(fitted / "fit.yaml"), "--step-dir", str(again)]) == 0
    first, second = (yaml.safe_load((step / "fit.yaml").read_text()) for step in (fitted, again))
    assert {key for key in first if first[key] != second[key]} == {"step_dir", "trainer"}  # paths
    assert first["model"] == second["model"] and first["data"] == second["data"]


def test_finished_fit_is_not_overwritten(fitted: Path, tiny_voc: Path, capsys: pytest.CaptureFixture) -> None:
    before = (fitted / "checkpoints" / "last.ckpt").read_bytes()
    assert main("classifier", _args("fit", tiny_voc, fitted)) == 2
    assert "finished fit" in capsys.readouterr().err
    assert (fitted / "checkpoints" / "last.ckpt").read_bytes() == before


def test_best_checkpoint_is_kept_and_used_when_asked_for(tiny_voc: Path, tmp_path: Path) -> None:
    step = tmp_path / "cam"
    args = _args("fit", tiny_voc, step, trainer__max_epochs="2", **{"select-by": "val/mAP"})
    assert main("classifier", args) == 0
    assert {p.name for p in (step / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert read_manifest(step).checkpoint == "checkpoints/best.ckpt"
    assert main("classifier", _args("predict", tiny_voc, step)) == 0
    assert read_manifest(step).checkpoint == "checkpoints/best.ckpt"


def test_prediction_uses_the_trained_weights(fitted: Path, tiny_voc: Path) -> None:
    module = load_checkpoint(fitted / "checkpoints" / "last.ckpt")
    images = VOC(str(tiny_voc))
    image_id = images.ids("train")[0]
    image = torch.from_numpy(images.read_image(image_id)).permute(2, 0, 1)
    tags = torch.from_numpy(images.tags(image_id))
    (expected,) = module.predict_step([{"id": image_id, "image": image, "tags": tags}], 0)
    stored = load_maps(fitted / "out", image_id, images.classes)
    # float16 on disk keeps 11 bits, so values up to 1 differ by at most 2**-11
    np.testing.assert_allclose(stored.maps, expected.maps, atol=2**-11)


def test_predict_only_makes_what_is_missing(fitted: Path, tiny_voc: Path) -> None:
    files = sorted((fitted / "out").glob("*.npz"))
    times = {p: p.stat().st_mtime_ns for p in files}
    expected = files[0].read_bytes()
    files[0].unlink()
    assert main("classifier", _args("predict", tiny_voc, fitted)) == 0
    assert files[0].read_bytes() == expected
    assert all(p.stat().st_mtime_ns == times[p] for p in files[1:])


def test_a_moved_run_goes_on_with_moved_data(
    fitted: Path, tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where run and data lie does not count; the runner's fingerprint tells what lies there."""
    run, moved = tmp_path / "run", tmp_path / "elsewhere"
    shutil.copytree(fitted, run / "cam")
    config = step_file(tmp_path / "labels.yaml", "psa", "affinity_labels", "tiny", "voc")

    def predict(folder: Path, root: Path, fingerprint: str = "ff") -> int:
        words = ["predict", "--config", str(config), "--trainer.enable_progress_bar", "false"]
        words += ["--step-dir", str(folder / "labels"), "--fingerprint", fingerprint]
        words += ["--data.init_args.maps_dir", str(folder / "cam")]
        return main("pseudo_labels", [*words, "--data.init_args.dataset.init_args.root", str(root)])

    assert predict(run, tiny_voc) == 0
    before = {p: p.read_bytes() for p in (run / "labels" / "out").rglob("*.png")}
    first = (run / "labels" / "manifest.json").read_bytes()
    run.rename(moved)
    (tmp_path / "data").symlink_to(tiny_voc)
    lost = sorted((moved / "labels" / "out" / "bg").iterdir())[0]
    lost.unlink()
    assert predict(moved, tmp_path / "data") == 0
    after = {p: p.read_bytes() for p in (moved / "labels" / "out").rglob("*.png")}
    assert {run / p.relative_to(moved): data for p, data in after.items()} == before
    assert (moved / "labels" / "manifest.json").read_bytes() == first
    config.write_text(config.read_text().replace("level: 0.4", "level: 0.5"))
    assert predict(moved, tiny_voc) == 2
    assert "was begun with another configuration" in capsys.readouterr().err


def test_interrupted_fit_goes_on_from_its_last_epoch(
    tiny_voc: Path,
    tmp_path: Path,
    power_cut: PowerCut,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    args = _args("fit", tiny_voc, tmp_path / "cam", trainer__max_epochs="3", trainer__limit_val_batches="0")

    with power_cut(2):
        main("classifier", args)
    assert not read_manifest(tmp_path / "cam").commands["fit"].complete

    epochs: list[int] = []
    monkeypatch.setattr(Classifier, "on_train_epoch_start", lambda self: epochs.append(self.current_epoch))
    assert main("classifier", args) == 0
    assert epochs == [2]
    assert "going on from" in capsys.readouterr().out
    assert read_manifest(tmp_path / "cam").commands["fit"].complete


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__init_args__backbone__name": "resnet10x"}, "unknown backbone 'resnet10x'"),
        ({"model__init_args__backbone__weights": "no/such/file.safetensors"}, "no/such/file.safetensors"),
        ({"data__init_args__dataset__init_args__root": "no/such/folder"}, "no/such/folder"),
        ({"data__init_args__batch_size": "0"}, "batch_size must be at least 1"),
        ({"model__init_args__optimization__lr": "-1"}, "optimization.lr must be above 0"),
    ],
)
def test_bad_input_gets_one_message_before_anything_is_trained(
    changes: dict[str, str], message: str, tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main("classifier", _args("fit", tiny_voc, tmp_path / "cam", **changes)) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not (tmp_path / "cam" / "checkpoints").exists()


def test_prediction_without_a_fit_says_what_to_do(
    tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main("classifier", _args("predict", tiny_voc, tmp_path / "cam")) == 2
    assert "run fit first" in capsys.readouterr().err


def test_checkpoint_of_another_class_list_is_refused(
    fitted: Path, tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    args = _args("predict", tiny_voc, tmp_path / "cam", ckpt_path=str(fitted / "checkpoints" / "last.ckpt"))
    other = "[bird, dog, cow]"
    (tmp_path / "tags.csv").write_text((tiny_voc / "image_labels.csv").read_text().replace("cat", "cow"))
    args += ["--data.init_args.dataset.init_args.classes", other]
    args += ["--data.init_args.dataset.init_args.tags", str(tmp_path / "tags.csv")]
    assert main("classifier", args) == 2
    assert "trained for the classes bird, cat, dog" in capsys.readouterr().err


def test_load_checkpoint_rebuilds_the_network_without_unpickling(fitted: Path) -> None:
    module = load_checkpoint(fitted / "checkpoints" / "last.ckpt")
    assert isinstance(module, Classifier) and not module.training
    assert module.classes == ClassList.voc(["bird", "cat", "dog"])


def test_load_checkpoint_refuses_files_with_code(tmp_path: Path) -> None:
    torch.save({"tag2mask": print}, tmp_path / "evil.ckpt")
    with pytest.raises(UserError, match="as a checkpoint of plain tensors: give the folder of a run"):
        load_checkpoint(tmp_path / "evil.ckpt")


def test_load_checkpoint_refuses_classes_from_elsewhere(tmp_path: Path) -> None:
    facts = {"class_path": "subprocess.Popen", "network": {}, "classes": None}
    torch.save({"tag2mask": facts, "state_dict": {}}, tmp_path / "odd.ckpt")
    with pytest.raises(UserError, match="not part of tag2mask"):
        load_checkpoint(tmp_path / "odd.ckpt")


def test_notes_of_the_library_are_printed_once(capsys: pytest.CaptureFixture) -> None:
    for _ in range(2):
        assert main("no_such_script", []) == 2
    capsys.readouterr()
    logging.getLogger("tag2mask.ops.any").info("engine %s", "lattice")
    assert capsys.readouterr().err == "engine lattice\n"


def test_unknown_script_is_called_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("clasifier", ["fit"]) == 2
    assert "unknown script 'clasifier'; did you mean classifier?" in capsys.readouterr().err
