"""Runs of a recipe in processes of their own, left alone or struck."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import yaml

from benchmarks.chaos import forked
from benchmarks.chaos.strikes import Struck, hidden, strike, tree
from tag2mask import cli
from tag2mask.data import Shapes


class Runs:
    """Starts ``tag2mask run`` of one recipe on one data set.

    Args:
        recipe: the recipe.
        folder: where the runs go.
        images: the data set.
        fork: fork processes in place of starting new ones.
    """

    def __init__(self, recipe: str, folder: Path, images: Shapes, fork: bool) -> None:
        self.recipe = recipe
        self.folder = folder
        self.images = images
        self.fork = fork
        self.data = folder / "data.yaml"
        self.data.write_text(yaml.safe_dump({"data": {"init_args": {"dataset": images.describe()}}}))
        self._output = bytearray()
        self._reader = threading.Thread()

    def start(self, run_dir: Path) -> int:
        """Start the runner; returns its process id."""
        words = ["run", self.recipe, "--data", str(self.data), "--budget", "tiny", "--run-dir", str(run_dir)]
        words.append("--allow-empty")  # networks of a few steps may mark nothing; the files count here
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        # a pipe, for the limit that stands for a full disk would hold for a file as well
        reading, writing = os.pipe()

        def work() -> int:
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            os.environ |= environment
            return cli.main(words)

        if self.fork:
            pid = forked.fork(work)
        else:
            command = [sys.executable, "-m", "tag2mask", *words]
            pid = subprocess.Popen(command, stdout=writing, stderr=writing, env=environment).pid
        os.close(writing)
        self._output = bytearray()
        self._reader = threading.Thread(target=_read, args=(reading, self._output), daemon=True)
        self._reader.start()
        return pid

    def said(self, whole: bool = False) -> str:
        """What the runner has printed so far; all of it once it has ended."""
        if whole:
            self._reader.join(10.0)
        return self._output.decode(errors="replace")

    def undisturbed(self, run_dir: Path) -> dict[str, float]:
        """Run to the end; returns the seconds that each step took, in order."""
        pid, began = self.start(run_dir), dict[str, float]()
        code = None
        while code is None:
            for line in self.said().splitlines():
                if line.startswith("[") and "to be made" in line:
                    began.setdefault(line.split()[1], time.monotonic())
            code = ended(pid, 0.1)
        if code:
            raise RuntimeError(f"the undisturbed run of {self.recipe} failed: {self.said()[-2000:]}")
        ends = [*list(began.values())[1:], time.monotonic()]
        return {step: end - begin for (step, begin), end in zip(began.items(), ends, strict=True)}


def _read(pipe: int, output: bytearray) -> None:
    while data := os.read(pipe, 65536):
        output += data
    os.close(pipe)


def ended(pid: int, wait: float) -> int | None:
    """The exit code of a child, None if it still runs after that many seconds."""
    until = time.monotonic() + wait
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(0.01)


LONGEST = 3600.0


def disturb(runs: Runs, run_dir: Path, step: str, delay: float, kind: str) -> Struck:
    """Start the run, and strike some seconds after a step has begun."""
    pid = runs.start(run_dir)
    code = None
    until = time.monotonic() + LONGEST
    while code is None and f"] {step}  " not in runs.said() and time.monotonic() < until:
        code = ended(pid, 0.02)
    if code is None:
        code = ended(pid, delay)
    if code is not None:
        return Struck(runs.recipe, step, kind, code, runs.said(whole=True), ended=True)
    with hidden(image_gone(runs)) if kind == "image gone" else contextlib.nullcontext():
        strike(kind, pid)
        code = ended(pid, LONGEST)
    if code is None:
        for process in tree(pid):
            os.kill(process, signal.SIGKILL)
        code = ended(pid, 10.0)
    _wait_for_orphans(run_dir)
    return Struck(runs.recipe, step, kind, -1 if code is None else code, runs.said(whole=True))


def image_gone(runs: Runs) -> Path:
    """The image of the data set that a strike may take away."""
    return runs.images.image_path(runs.images.ids("train")[3])


def _wait_for_orphans(run_dir: Path) -> None:
    """After a power cut nothing lives on; a killed stage of the old runner may take a moment to be gone."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        mine = [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(run_dir).encode() in _bytes(p)]
        if not mine:
            return
        time.sleep(0.05)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
