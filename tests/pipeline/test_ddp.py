"""Every kind of step in two processes: each image is written exactly once, and steps chain as with one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tag2mask.artifacts import read_manifest
from tag2mask.step import main
from tests.forked import Process
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


def _words(run: Path, root: Path, step: str, command: str) -> list[str]:
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


def _launched(words: list[str], *launcher: str) -> str:
    """What the step prints, in processes that a launcher starts."""
    command = [sys.executable, *launcher, "-m", "tag2mask", "step", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-9000:]
    return done.stdout


def rank(words: list[str]) -> int:
    """One of the step's processes."""
    return main(words[0], words[1:])


def _forked(folder: Path, words: list[str]) -> str:
    """The same in two processes with the environment that torchrun gives."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = str(place.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [
        Process(folder, {**shared, "RANK": number, "LOCAL_RANK": number}, rank, words) for number in "01"
    ]
    done = [process.wait() for process in ranks]
    assert [one.returncode for one in done] == [0, 0], "".join(one.stderr[-5000:] for one in done)
    return "".join(one.stdout for one in done)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_step_in_two_processes(odd_voc: Path, tmp_path: Path) -> None:
    for step, (_, commands, _) in STEPS.items():
        for command in commands:
            words = _words(tmp_path, odd_voc, step, command)
            # `--devices 2` as users give it is tried with the first step: each start imports everything anew
            printed = _launched(words) if step == "cam" else _forked(tmp_path, words)
        manifest = read_manifest(tmp_path / step)
        assert manifest is not None and manifest.complete
        images = 3 if step == "segmentation" else IMAGES
        if step != "affinity":
            assert f"{images} of {images} images written" in printed
            assert len(manifest.image_ids) == images


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_torchrun_on_two_machines_and_on_one(odd_voc: Path, tmp_path: Path) -> None:
    """Trains with one process on each of two "nodes", which meet on loopback; predicts with two on one."""
    torchrun = ("-m", "torch.distributed.run")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    meet = ("--nnodes", "2", "--rdzv-id", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint)
    fit = [*_words(tmp_path, odd_voc, "cam", "fit"), "--trainer.devices", "1", "--trainer.num_nodes", "2"]
    with ThreadPoolExecutor(2) as machines:
        ends = [machines.submit(_launched, fit, *torchrun, *meet, "--nproc-per-node", "1") for _ in range(2)]
        for end in ends:
            end.result()
    predict = _words(tmp_path, odd_voc, "cam", "predict")
    printed = _launched(predict, *torchrun, "--standalone", "--nproc-per-node", "2")
    assert f"{IMAGES} of {IMAGES} images written" in printed
    assert len(list((tmp_path / "cam" / "out").glob("*.npz"))) == IMAGES
