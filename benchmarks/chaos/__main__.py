"""`python -m benchmarks.chaos`: see `make chaos`."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import yaml

from benchmarks.chaos import forked
from benchmarks.chaos.compare import differences, odd_names
from benchmarks.chaos.strikes import STRIKES, Struck, hidden, strike, tree
from tag2mask import cli
from tag2mask.core.tables import Table
from tag2mask.data import Shapes

_LONGEST = 3600.0


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
            code = _ended(pid, 0.1)
        if code:
            raise RuntimeError(f"the undisturbed run of {self.recipe} failed: {self.said()[-2000:]}")
        ends = [*list(began.values())[1:], time.monotonic()]
        return {step: end - begin for (step, begin), end in zip(began.items(), ends, strict=True)}


def _read(pipe: int, output: bytearray) -> None:
    while data := os.read(pipe, 65536):
        output += data
    os.close(pipe)


def _ended(pid: int, wait: float) -> int | None:
    """The exit code of a child, None if it still runs after that many seconds."""
    until = time.monotonic() + wait
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(0.01)


def disturb(runs: Runs, run_dir: Path, step: str, delay: float, kind: str) -> Struck:
    """Start the run, and strike some seconds after a step has begun."""
    pid = runs.start(run_dir)
    code = None
    until = time.monotonic() + _LONGEST
    while code is None and f"] {step}  " not in runs.said() and time.monotonic() < until:
        code = _ended(pid, 0.02)
    if code is None:
        code = _ended(pid, delay)
    if code is not None:
        return Struck(runs.recipe, step, kind, code, runs.said(whole=True), ended=True)
    with hidden(_image(runs)) if kind == "image gone" else contextlib.nullcontext():
        strike(kind, pid)
        code = _ended(pid, _LONGEST)
    if code is None:
        for process in tree(pid):
            os.kill(process, signal.SIGKILL)
        code = _ended(pid, 10.0)
    _wait_for_orphans(run_dir)
    return Struck(runs.recipe, step, kind, -1 if code is None else code, runs.said(whole=True))


def _image(runs: Runs) -> Path:
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


def plan(
    rng: random.Random, seconds: dict[str, float], count: int, kinds: list[str]
) -> list[tuple[str, float, str]]:
    """Step, delay and kind of each strike, in the order of the steps; moments are even over the whole run."""
    moments = sorted(rng.uniform(0, sum(seconds.values())) for _ in range(count))
    planned = []
    for moment in moments:
        for step, length in seconds.items():
            if moment < length:
                planned.append((step, moment, kinds.pop()))
                break
            moment -= length
    return planned


def torment(runs: Runs, count: int, rng: random.Random, kinds: list[str]) -> tuple[list[Struck], list[str]]:
    """Strike a recipe's run until it was struck often enough; returns the strikes and the faults."""
    whole = runs.folder / f"{runs.recipe}-whole"
    seconds = runs.undisturbed(whole)
    print(f"{runs.recipe}: undisturbed {sum(seconds.values()):.0f} s", flush=True)
    struck, faults, round_number = list[Struck](), list[str](), 0
    while (missing := count - sum(not s.ended for s in struck)) > 0:
        run_dir = runs.folder / f"{runs.recipe}-struck-{round_number}"
        here = []
        for step, delay, kind in plan(rng, seconds, missing, kinds):
            found = disturb(runs, run_dir, step, delay, kind)
            here.append(found)
            if found.ended:
                kinds.append(kind)
            fault = found.fault(_image(runs))
            outcome = fault or ("too late" if found.ended else "ok")
            print(f"{runs.recipe} {step} +{delay:.1f} s {kind}: {outcome}", flush=True)
            if fault:
                faults.append(f"{runs.recipe}, {kind} in {step}: {fault}\n{found.said[-1500:]}")
        code = _ended(runs.start(run_dir), _LONGEST)
        if code:
            faults.append(f"{runs.recipe}: does not go on, exit code {code}\n{runs.said(whole=True)[-1500:]}")
            break
        for step in seconds:
            differ = differences(whole / step, run_dir / step)
            if differ:
                which = ", ".join(s.kind for s in here if s.step == step) or "none in it"
                faults.append(
                    f"{runs.recipe}, {step} ({which}): {len(differ)} files differ: {', '.join(differ[:4])}"
                )
        if odd := odd_names(whole, run_dir):
            faults.append(f"{runs.recipe}: the run folders differ in {', '.join(odd)}")
        struck += here
        round_number += 1
    return struck, faults


def main() -> int:
    """Strike the recipes, print the tally; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=["psa", "rrm", "ial"])
    parser.add_argument("--kills", type=int, default=30, help="strikes in all (default: 30)")
    parser.add_argument("--images", type=int, default=24, help="training images (default: 24)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fork", action="store_true", help="fork processes, which start in less time")
    parser.add_argument("--out", type=Path, default=Path("build/chaos"), help="folder (default: build/chaos)")
    args = parser.parse_args()
    if args.fork:
        forked.prepare()
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    folder = args.out.resolve()
    images = Shapes(str(folder / "shapes"), train=args.images, val=max(1, args.images // 3), size=(64, 80))
    images.make()
    rng = random.Random(args.seed)
    shares = [
        args.kills // len(args.recipes) + (n < args.kills % len(args.recipes))
        for n in range(len(args.recipes))
    ]
    kinds = [STRIKES[n % len(STRIKES)] for n in range(args.kills)]
    rng.shuffle(kinds)
    struck, faults = list[Struck](), list[str]()
    for recipe, share in zip(args.recipes, shares, strict=True):
        more, wrong = torment(Runs(recipe, folder, images, args.fork), share, rng, kinds)
        struck, faults = struck + more, faults + wrong
    _print(struck, faults)
    return 1 if faults else 0


def _print(struck: list[Struck], faults: list[str]) -> None:
    counted = [s for s in struck if not s.ended]
    cells = Counter((f"{s.recipe}: {s.step}", s.kind) for s in counted)
    steps = dict.fromkeys(step for step, _ in cells)
    rows = [[step, *(str(cells[step, kind] or "") for kind in STRIKES)] for step in steps]
    totals = Counter(s.kind for s in counted)
    foot = [["all", *(str(totals[kind]) for kind in STRIKES)]]
    print(Table(["step", *STRIKES], rows, foot=foot).text())
    print(
        "\n".join(faults)
        or f"{len(counted)} of {len(counted)}: every run went on and ended with the same files"
    )


if __name__ == "__main__":
    sys.exit(main())
