"""psa on a real Slurm of this machine, two nodes with a task each; jobs are requeued half way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from tag2mask.artifacts import read_manifest
from tests.slurm.jobs import PATIENCE, call, require_well, wait

SETUP = Path(__file__).with_name("setup.sh")
STAGES = os.environ.get("SLURM_TEST_STAGES", "").split()
CLUSTER = """
network: {cpus-per-task: 1}
generator: {devices: 1, nodes: 1, cpus-per-task: 1}
"""
# Long enough to be stopped half way.
SLOW = ["--cam.trainer.max_epochs", "30", "--cam.model.init_args.cam.scales", str([1.0] + 10 * [8.0])]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2 * PATIENCE),
    pytest.mark.skipif(not STAGES, reason="takes minutes: run by make slurm-test"),
    pytest.mark.skipif(
        any(shutil.which(name) is None for name in ("slurmctld", "slurmd", "munged")),
        reason="Slurm is not installed, see tests/slurm/setup.sh",
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="the daemons of Slurm need root"),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run([SETUP, "start", folder], capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stdout + started.stderr
    yield folder
    subprocess.run([SETUP, "stop", folder], check=True)


@pytest.fixture
def environment(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(slurm / "slurm.conf"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")  # the names of the nodes are no hosts
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))


def submit(run: Path, root: Path) -> dict[str, str]:
    """Submit the chosen stages; step -> number of its job."""
    (run.parent / "two.yaml").write_text(CLUSTER)
    words = [
        sys.executable,
        "-m",
        "tag2mask",
        "run",
        "psa",
        "--data",
        "voc",
        "--data-root",
        root,
        "--run-dir",
        run,
    ]
    words += ["--budget", "tiny", "--stage", *STAGES, "--nodes", "2", "--launcher", "slurm", "--allow-empty"]
    said = call(*words, "--cluster", run.parent / "two.yaml", *SLOW)
    return {step: job for step, _, job in (line.partition(": job ") for line in said.splitlines())}


def finish(jobs: dict[str, str], run: Path) -> None:
    """Wait for all jobs; those in the queue again start at once, not after Slurm's two minutes."""

    def done() -> bool:
        left = dict(line.split() for line in call("squeue", "-h", "-o", "%i %r").splitlines())
        for job in (job for job, reason in left.items() if reason == "BeginTime"):
            subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=False)
        return not left

    wait(done, f"jobs {jobs}", jobs, run)
    require_well(jobs, run)


def _has(folder: Path, sign: str) -> bool:
    return any(folder.glob(sign))


def is_complete(run: Path, command: str) -> bool:
    manifest = read_manifest(run / "cam")
    return manifest is not None and command in manifest.commands and manifest.commands[command].complete


@pytest.mark.usefixtures("environment")
def test_requeued_jobs_end_with_the_files_of_an_undisturbed_run(tiny_voc: Path, tmp_path: Path) -> None:
    quiet, disturbed = tmp_path / "quiet", tmp_path / "disturbed"
    finish(submit(quiet, tiny_voc), quiet)
    jobs = submit(disturbed, tiny_voc)
    for command, sign in (("fit", "checkpoints/last.ckpt"), ("predict", "out/*.npz")):
        found = partial(_has, disturbed / "cam", sign)
        wait(found, f"the middle of {command}", jobs, disturbed)
        call("scontrol", "requeue", jobs["cam"])
        assert not is_complete(disturbed, command), f"{command} had ended before it was disturbed"
    finish(jobs, disturbed)
    printed = "".join(p.read_text() for p in (disturbed / "slurm").glob("cam-*.txt"))
    assert "going on from" in printed and "goes on where it stopped" in printed
    steps = [path.parent.name for path in quiet.glob("*/manifest.json")]
    assert len(steps) == {"1": 1, "2": 5, "3": 6}[STAGES[-1]]
    for step in steps:
        assert (manifest := read_manifest(disturbed / step)) is not None and manifest.complete, step
        files = [
            {p.relative_to(r): p.read_bytes() for p in (r / step / "out").rglob("*.*")}
            for r in (quiet, disturbed)
        ]
        assert files[0] == files[1], step
        networks = [r / step / "checkpoints" / "last.ckpt" for r in (quiet, disturbed)]
        if networks[0].is_file():
            weights = [torch.load(path, weights_only=True)["state_dict"] for path in networks]
            assert all(torch.equal(weights[1][name], value) for name, value in weights[0].items()), step
