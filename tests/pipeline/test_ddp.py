"""Every kind of step in two processes: each image is written exactly once, and steps chain as with one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tag2mask.artifacts import read_manifest
from tests.step_files import step_file

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
    return done.stdout + done.stderr


def _words(run: Path, root: Path, step: str, command: str) -> list[str]:
    """What stands behind ``tag2mask step``."""
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
def test_every_step_in_two_processes(odd_voc: Path, tmp_path: Path) -> None:
    """The first step as users start it; the others in forks of one process, which imports all once."""
    commands = [_words(tmp_path, odd_voc, step, c) for step in STEPS for c in STEPS[step][1]]
    printed = "".join(_start([sys.executable, "-m", "tag2mask", "step", *words]) for words in commands[:2])
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
def test_torchrun_on_two_machines_and_on_one(odd_voc: Path, tmp_path: Path) -> None:
    """Trains with one process on each of two "nodes", which meet on loopback; predicts with two on one."""
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    meet = ["--nnodes", "2", "--rdzv-id", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint]
    fit = ["-m", "tag2mask", "step", *_words(tmp_path, odd_voc, "cam", "fit")]
    fit += ["--trainer.devices", "1", "--trainer.num_nodes", "2"]
    with ThreadPoolExecutor(2) as machines:
        printed = list(
            machines.map(lambda _: _start([*torchrun, *meet, "--nproc-per-node", "1", *fit]), range(2))
        )
    assert sum("batches of 2 images in all: 1 on each of 2 devices" in text for text in printed) == 1
    predict = ["-m", "tag2mask", "step", *_words(tmp_path, odd_voc, "cam", "predict")]
    said = _start([*torchrun, "--standalone", "--nproc-per-node", "2", *predict])
    assert f"{IMAGES} of {IMAGES} images written" in said
    assert len(list((tmp_path / "cam" / "out").glob("*.npz"))) == IMAGES
