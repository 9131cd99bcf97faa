"""Every stage in two processes: each image is written exactly once, and steps chain as with one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tag2mask.artifacts import read_manifest
from tests.stages import step_file

CONF = Path(__file__).resolve().parents[2] / "conf"
IMAGES = 7
"""An odd number: a sampler that fills up its shares would write one image twice."""

DDP = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]
NETWORK = ["--model.init_args.backbone.name", "resnet10t", "--model.init_args.backbone.weights", "none"]
NETWORK += [
    "--model.init_args.backbone.frozen",
    "[]",
    "--data.init_args.batch_size",
    "2",
    "--trainer.max_epochs",
    "1",
]
NETWORK += ["--trainer.limit_train_batches", "1"]
STEPS = {
    "cam": ("classifier", ["fit", "predict"], [*NETWORK, "--data.init_args.augment.crop", "64"]),
    "affinity_labels": ("pseudo_labels", ["predict"], ["maps_dir:cam"]),
    "affinity": (
        "affinity",
        ["fit"],
        [*NETWORK, "--data.init_args.augment.crop", "96", "labels_dir:affinity_labels"],
    ),
    "walk": (
        "pseudo_labels",
        ["predict"],
        ["maps_dir:cam", "--model.init_args.affinity_from", "RUN/affinity"],
    ),
    "pseudo_label": ("pseudo_labels", ["predict"], ["maps_dir:walk"]),
    "segmentation": (
        "segmentation",
        ["fit", "predict"],
        [
            *NETWORK,
            *("--data.init_args.augment.crop", "64", "labels_dir:pseudo_label"),
            *("--model.init_args.classifier_from", "RUN/cam"),
        ],
    ),
}


def _start(words: list[str]) -> str:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    done = subprocess.run(
        words, check=False, capture_output=True, text=True, env=environment, timeout=1000, cwd=CONF.parent
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-9000:]
    return done.stdout


def _words(run: Path, root: Path, step: str, command: str) -> list[str]:
    """What stands behind ``tag2mask stage``."""
    script, _, extra = STEPS[step]
    words = [script, command]
    words += ["--config", str(step_file(run / f"{step}.yaml", "psa", step, "small", "voc"))]
    words += ["--step-dir", str(run / step)]
    words += ["--config", str(CONF / "logger" / "csv.yaml"), "--data.init_args.num_workers", "0"]
    words += ["--data.init_args.dataset.init_args.root", str(root)]
    for word in extra:
        if ":" in word:
            option, source = word.split(":")
            words += [f"--data.init_args.{option}", str(run / source)]
        else:
            words.append(word.replace("RUN", str(run)))
    return [*words, *DDP]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_stage_in_two_processes(odd_voc: Path, tmp_path: Path) -> None:
    """The first step as users start it; the others in forks of one process, which imports all once."""
    commands = [_words(tmp_path, odd_voc, step, c) for step in STEPS for c in STEPS[step][1]]
    printed = "".join(_start([sys.executable, "-m", "tag2mask", "stage", *words]) for words in commands[:2])
    forked = [["ddp_fork" if word == "ddp" else word for word in words] for words in commands[2:]]
    printed += _start([sys.executable, "-m", "tests.pipeline.forked", json.dumps(forked)])
    for step in STEPS:
        manifest = read_manifest(tmp_path / step)
        assert manifest is not None and manifest.complete
        images = 3 if step == "segmentation" else IMAGES
        if step != "affinity":
            assert f"{images} of {images} images written to {tmp_path / step / 'out'}" in printed
            assert len(manifest.image_ids) == images


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_torchrun_writes_each_image_once(odd_voc: Path, tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for command in ("fit", "predict"):
        printed = _start([*launcher, "-m", "tag2mask", "stage", *_words(tmp_path, odd_voc, "cam", command)])
    assert f"{IMAGES} of {IMAGES} images written" in printed
    assert len(list((tmp_path / "cam" / "out").glob("*.npz"))) == IMAGES
