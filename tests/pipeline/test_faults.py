"""Kills, signals, full disks and diverging numbers: one message, and the same command goes on."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tag2mask.artifacts import CommandRecord, Manifest, read_json, read_manifest, save_labels, write_manifest
from tag2mask.core import ClassList
from tag2mask.modules import Classifier
from tag2mask.step import main
from tests.pipeline.conftest import PowerCut

CLASSES = ClassList.voc(["bird", "cat", "dog"])
OPTIMIZATION = {"lr": 0.01}
BACKBONE = {"name": "resnet10t", "weights": "none", "output_stride": 16, "frozen": [], "batchnorm": "train"}
CAM = {"scales": [1.0], "flip": True}
MEAN = {"class_path": "tag2mask.callbacks.RunningMean", "init_args": {"decay": 0.9}}
STEPS: dict[str, dict[str, Any]] = {
    "classifier": {
        "model": {"class_path": "tag2mask.modules.Classifier", "init_args": {"cam": CAM}},
        "data": {"class_path": "tag2mask.data.ClassificationData", "init_args": {"num_workers": 2}},
    },
    "segmentation": {
        "model": {
            "class_path": "tag2mask.modules.SegmentationModel",
            "init_args": {"test": {"variants": ["single_scale"]}},
        },
        "data": {
            "class_path": "tag2mask.data.SegmentationData",
            "init_args": {"supervision": "masks", "num_workers": 0},
        },
        "trainer": {"callbacks": [MEAN]},
    },
    "affinity": {
        "model": {"class_path": "tag2mask.modules.AffinityNet", "init_args": {"border": "all"}},
        "data": {"class_path": "tag2mask.data.AffinityData", "init_args": {"num_workers": 1}},
        "trainer": {"limit_val_batches": 0},
    },
}
"""What tests run of each script, beside what `_config` adds."""


KILLED = """
import os, signal, sys
from tag2mask import modules
from tag2mask.step import main
name, kill = sys.argv[1], int(sys.argv[2])
step = getattr(modules, name).training_step
def training_step(self, batch, index):
    if self.current_epoch == 1 and index == 1:
        os.kill(os.getpid(), kill)
    return step(self, batch, index)
getattr(modules, name).training_step = training_step
sys.exit(main(sys.argv[3], sys.argv[4:]))
"""
"""A step that gets a signal in the middle of its second epoch."""


def _config(script: str, root: Path, folder: Path) -> Path:
    config = yaml.safe_load(yaml.safe_dump(STEPS[script]))
    config["model"]["init_args"] |= {"backbone": BACKBONE, "optimization": OPTIMIZATION}
    dataset = {"class_path": "tag2mask.data.VOC", "init_args": {"root": str(root)}}
    config["data"]["init_args"] |= {"dataset": dataset, "batch_size": 2, "augment": {"crop": 64}}
    if script == "affinity":
        config["data"]["init_args"]["labels_dir"] = str(_affinity_labels(root, folder))
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    config["trainer"] = {"max_epochs": 3, "accelerator": "cpu", **quiet, **config.get("trainer", {})}
    path = folder / f"{script}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def _affinity_labels(root: Path, folder: Path) -> Path:
    """The true masks, as a step of sure foreground and background would leave them."""
    step = folder / "affinity_labels"
    ids = (root / "ImageSets/Segmentation/train.txt").read_text().split()
    for image_id in ids:
        with Image.open(root / "SegmentationClass" / f"{image_id}.png") as image:
            mask = np.array(image)
        for side in ("fg", "bg"):
            save_labels(step / "out" / side / f"{image_id}.png", mask)
    done = {"predict": CommandRecord(complete=True)}
    manifest = Manifest(
        step="affinity_labels",
        kind="affinity_labels",
        recipe="",
        classes=CLASSES.to_dict(),
        split="train",
        image_ids=ids,
        commands=done,
        complete=True,
    )
    write_manifest(step, manifest)
    return step


def _words(command: str, config: Path, step: Path, **changes: str) -> list[str]:
    options = {key.replace("__", "."): value for key, value in changes.items()}
    words = [command, "--config", str(config), "--step-dir", str(step)]
    return words + [word for key, value in options.items() for word in (f"--{key}", value)]


def _start(script: str, words: list[str], kill: int) -> subprocess.CompletedProcess[str]:
    model = STEPS[script]["model"]["class_path"].rpartition(".")[2]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", KILLED, model, str(kill), script, *words]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=300, check=False,
        preexec_fn=_listen,
    )  # fmt: skip


def _listen() -> None:
    """A job in the background of a shell ignores SIGINT, and so do the processes that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _weights(step: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(step / "checkpoints" / "last.ckpt", weights_only=True)
    optimizer = checkpoint["optimizer_states"][0]["state"]
    moments = {f"moment/{k}": s["momentum_buffer"] for k, s in optimizer.items() if "momentum_buffer" in s}
    mean = {f"current/{k}": v for k, v in checkpoint.get("current_model_state", {}).items()}
    return checkpoint["state_dict"] | moments | mean


def _results(step: Path) -> dict[str, bytes]:
    out = step / "out"
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("script", ["classifier", "segmentation", "affinity"])
@pytest.mark.timeout(600)
def test_killed_fit_ends_as_one_that_was_not(script: str, tiny_voc: Path, tmp_path: Path) -> None:
    config = _config(script, tiny_voc, tmp_path)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(script, _words("fit", config, whole)) == 0
    assert _start(script, _words("fit", config, killed), signal.SIGKILL).returncode == -signal.SIGKILL
    assert not read_manifest(killed).commands["fit"].complete  # type: ignore[union-attr]
    # as on a machine with less shared memory: loader processes change no batch
    assert main(script, _words("fit", config, killed, data__init_args__num_workers="0")) == 0
    first, second = _weights(whole), _weights(killed)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert read_json(whole / "metrics.json") == read_json(killed / "metrics.json")
    assert sorted(p.name for p in (killed / "checkpoints").iterdir()) == ["last.ckpt"]
    if script != "affinity":
        for step in (whole, killed):
            assert main(script, _words("predict", config, step)) == 0
        assert _results(whole) == _results(killed) and _results(whole)


def _light(tiny_voc: Path, tmp_path: Path) -> Path:
    config = _config("classifier", tiny_voc, tmp_path)
    plain = yaml.safe_load(config.read_text())
    plain["data"]["init_args"]["num_workers"] = 0
    plain["trainer"] |= {"limit_val_batches": 1, "max_epochs": 2}
    config.write_text(yaml.safe_dump(plain))
    return config


@pytest.fixture(scope="module")
def whole(tiny_voc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The light step, trained with nothing in its way."""
    folder = tmp_path_factory.mktemp("light")
    assert main("classifier", _words("fit", _light(tiny_voc, folder), folder / "whole")) == 0
    return folder / "whole"


@pytest.fixture(scope="module")
def short(tiny_voc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of one epoch. Tests only read it: whoever changes it copies the folder first."""
    folder = tmp_path_factory.mktemp("light")
    config = _light(tiny_voc, folder)
    assert main("classifier", _words("fit", config, folder / "short", trainer__max_epochs="1")) == 0
    return folder / "short"


def test_diverging_training_stops_in_its_step(
    tiny_voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    config, step = _light(tiny_voc, tmp_path), tmp_path / "cam"
    huge = {"model__init_args__optimization__lr": "1e30"}
    assert main("classifier", _words("fit", config, tmp_path / "huge", **huge)) == 2
    err = capsys.readouterr().err
    assert "error: after step" in err and "(epoch 1)" in err
    assert "with a smaller model.init_args.optimization.lr" in err
    assert not read_manifest(tmp_path / "huge").commands["fit"].complete  # type: ignore[union-attr]
    # in the second epoch: the checkpoint of the first one stays
    forward = Classifier.training_step

    def break_weight(self: Classifier, batch: Any, index: int) -> Any:
        loss = forward(self, batch, index)
        if self.current_epoch == 1 and index == 1:
            # the loss of this step is still right
            self.head.classifier.weight.data[0, 0] = torch.nan
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "training_step", break_weight)
        assert main("classifier", _words("fit", config, step)) == 2
    err = capsys.readouterr().err
    assert "after step 6 (epoch 2)" in err and "is not finite" in err
    assert all(torch.isfinite(w).all() for w in _weights(step).values())
    assert main("classifier", _words("fit", config, step)) == 0


def test_a_prediction_that_was_stopped_counts_its_time(
    short: Path, tiny_voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, step = _light(tiny_voc, tmp_path), shutil.copytree(short, tmp_path / "cam")
    words = _words("predict", config, step, trainer__max_epochs="1")
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "predict_step", lambda *_: signal.raise_signal(signal.SIGTERM))
        assert main("classifier", words) == 75
    begun = read_manifest(step).commands["predict"]  # type: ignore[union-attr]
    assert begun.seconds > 0 and not begun.complete
    assert main("classifier", words) == 0
    assert read_manifest(step).commands["predict"].seconds > begun.seconds  # type: ignore[union-attr]


def test_network_that_diverged_predicts_nothing(
    short: Path, tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config, step = _light(tiny_voc, tmp_path), shutil.copytree(short, tmp_path / "cam")
    path = step / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    name = next(iter(checkpoint["state_dict"]))
    checkpoint["state_dict"][name].fill_(torch.inf)
    torch.save(checkpoint, path)
    assert main("classifier", _words("predict", config, step)) == 2
    assert f"{name} is not finite" in capsys.readouterr().err


def test_full_disk_leaves_whole_checkpoints_and_one_message(
    whole: Path, tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config, step = _light(tiny_voc, tmp_path), tmp_path / "cam"
    size = (whole / "checkpoints" / "last.ckpt").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, before[1]))
    try:
        assert main("classifier", _words("fit", config, step)) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    err = capsys.readouterr().err
    assert f"error: cannot write {step / 'checkpoints' / 'last.ckpt'}" in err and "make room" in err
    assert list((step / "checkpoints").iterdir()) == []
    assert main("classifier", _words("fit", config, step)) == 0
    first, second = _weights(whole), _weights(step)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_broken_checkpoint_is_passed_over_for_the_one_before(
    tiny_voc: Path,
    tmp_path: Path,
    power_cut: PowerCut,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    config, step = _light(tiny_voc, tmp_path), tmp_path / "cam"

    with power_cut(2):
        main("classifier", _words("fit", config, step, trainer__max_epochs="3"))
    begun = read_manifest(step).commands["fit"]  # type: ignore[union-attr]
    assert begun.seconds > 0 and not begun.complete
    last = step / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    stray = step / "checkpoints" / ".last.ckpt.k2j3h4g5.tmp"
    stray.write_bytes(b"half")
    epochs: list[int] = []
    monkeypatch.setattr(Classifier, "on_train_epoch_start", lambda self: epochs.append(self.current_epoch))
    assert main("classifier", _words("fit", config, step, trainer__max_epochs="3")) == 0
    assert f"{last} is broken and passed over" in capsys.readouterr().out
    assert epochs == [1, 2]
    assert read_manifest(step).commands["fit"].seconds > begun.seconds  # type: ignore[union-attr]
    assert [p.name for p in (step / "checkpoints").iterdir()] == ["last.ckpt"]
    # of a finished training only this one is the result
    last.write_bytes(last.read_bytes()[:1000])
    assert main("classifier", _words("predict", config, step)) == 2
    assert f"error: {last} cannot be read as a checkpoint" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
@pytest.mark.timeout(600)
def test_signals_stop_a_fit_that_goes_on(number: int, whole: Path, tiny_voc: Path, tmp_path: Path) -> None:
    """Unlike a kill they let Lightning end the training, which must not save what the epoch has begun."""
    config, step = _light(tiny_voc, tmp_path), tmp_path / "cam"
    done = _start("classifier", _words("fit", config, step, data__init_args__num_workers="2"), number)
    assert done.returncode == (130 if number == signal.SIGINT else 75), done.stderr[-2000:]
    assert "the same command goes on from here" in done.stderr and "Traceback" not in done.stderr
    assert (step / "checkpoints" / "last.ckpt").is_file()
    assert not read_manifest(step).commands["fit"].complete  # type: ignore[union-attr]
    assert main("classifier", _words("fit", config, step)) == 0
    first, second = _weights(whole), _weights(step)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
