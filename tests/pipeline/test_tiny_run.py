"""The whole psa recipe on generated photos: killed in the middle, gone on with, and done only once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tag2mask.data import Shapes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TRAIN, VAL = 24, 8
SIZE = (64, 72)
STEPS = ("cam", "affinity_labels", "affinity", "walk", "pseudo_label", "segmentation")
VARIANTS = ("single_scale", "multi_scale", "multi_scale_crf")


class TinyRun:
    """A run folder, its data set and the command that fills it.

    Attributes:
        killed: names of the maps that were there when the first stage process was killed.
        first: the command that was killed; second: the one that went on; third: with nothing to do.
    """

    def __init__(self, folder: Path) -> None:
        self.photos = Shapes(str(folder / "shapes"), train=TRAIN, val=VAL, size=SIZE)
        self.run_dir = folder / "run"
        self.data = folder / "shapes.yaml"
        self.data.write_text(yaml.safe_dump({"data": {"init_args": {"dataset": self.photos.describe()}}}))
        self.killed: dict[str, int] = {}

    def start(self) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "tag2mask", "run", "psa", "--data", str(self.data)]
        words += ["--budget", "tiny", "--run-dir", str(self.run_dir), "--seed", "3"]
        # the same result on every machine: no GPU, and one thread
        env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)

    def finish(self) -> subprocess.CompletedProcess[str]:
        process = self.start()
        output = process.communicate()[0]
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def kill_in_the_middle(self) -> subprocess.CompletedProcess[str]:
        """Start the run, and kill the stage process while it writes the maps."""
        process = self.start()
        out = self.run_dir / "cam" / "out"
        while process.poll() is None and not any(out.glob("*.npz")):
            time.sleep(0.002)
        if process.poll() is None:
            for child in _children(process.pid):
                os.kill(child, signal.SIGKILL)
        output = process.communicate()[0]
        self.killed = {path.name: path.stat().st_mtime_ns for path in out.glob("*.npz")}
        # what a kill within the writing of a file leaves behind, at the worst moment
        (out / ".train_00023.npz.0000.tmp").write_bytes(b"half a fi")
        return subprocess.CompletedProcess(process.args, process.returncode, output)


def _children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    if not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").is_file():
        pytest.skip("finds the stage process through /proc")
    run = TinyRun(tmp_path_factory.mktemp("tiny"))
    run.first = run.kill_in_the_middle()
    run.second = run.finish()
    run.third = run.finish()
    return run
