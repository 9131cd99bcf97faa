"""The parts of `make gpu`: each a process of its own with a time limit, whose failure stops nothing else."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.record import Row, append, read
from benchmarks.harness import ROOT
from tag2mask.core import usable_cpus

_OUTCOME = re.compile(r"\b(PASSED|FAILED|ERROR|SKIPPED|XFAIL)\b")
_TEST = re.compile(r"tests/gpu/\S+")


@dataclass(frozen=True)
class Options:
    """What a part is started with.

    Attributes:
        device: cuda or cpu.
        quick: tiny sizes, to rehearse.
        data: voc-animals.
        weights: MobileNetV2's ImageNet weights.
        work: folder for runs, logs and rows.
    """

    device: str
    quick: bool
    data: Path
    weights: Path
    work: Path


@dataclass
class Part:
    """One part: its command, its time, and what it has found so far.

    Attributes:
        name: name of the part, and of its log and rows.
        seconds: limit.
        words: makes the command from the options and the file of rows.
        environment: variables for its processes.
    """

    name: str
    seconds: float
    words: Callable[[Options, Path], Sequence[str]]
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, options: Options, seconds: float) -> None:
        """Run it to its end or its limit; the last row says how it went."""
        rows, log = self.rows(options), self.log(options)
        started = time.monotonic()
        environment = {**os.environ, **self.environment, "TAG2MASK_TEST_DEVICE": options.device}
        with log.open("w", encoding="utf-8") as file:
            child = subprocess.Popen(
                self.words(options, rows),
                cwd=ROOT,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                how = f"ended with {child.wait(min(self.seconds, seconds))}"
            except subprocess.TimeoutExpired:
                how = f"stopped after {min(self.seconds, seconds):.0f} s"
                # The part and all that it started: they share a session.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        append(rows, {"part": self.name, "how": how, "part_seconds": round(time.monotonic() - started, 1)})

    def rows(self, options: Options) -> Path:
        """File of JSON lines that the part fills."""
        return options.work / f"{self.name}.jsonl"

    def log(self, options: Options) -> Path:
        """What the part prints."""
        return options.work / f"{self.name}.log"

    def found(self, options: Options) -> list[Row]:
        """The rows so far."""
        if self.name == "tests":
            return [*outcomes(self.log(options)), *read(self.rows(options))]
        return read(self.rows(options))


def outcomes(log: Path) -> list[Row]:
    """Test and outcome of every line of a verbose pytest log, with or without xdist."""
    if not log.is_file():
        return []
    found: dict[str, str] = {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        outcome, test = _OUTCOME.search(line), _TEST.search(line)
        # Later lines are the summary, which repeats the outcome behind the name or before it.
        if outcome and test and test.group() not in found:
            found[test.group()] = outcome.group().lower()
    return [{"test": test, "outcome": outcome} for test, outcome in found.items()]


def all_parts() -> list[Part]:
    """The parts in order, most valuable first; each has the machine to itself."""
    return [
        Part("tests", 150, _tests, {"OMP_NUM_THREADS": "2"}),
        Part("operators", 90, _module("operators")),
        Part("sizes", 110, _module("sizes", "data", work=False)),
        Part("throughput", 150, _module("throughput", "data")),
        Part("small_run", 300, _module("small_run", "data", "weights"), {"OMP_NUM_THREADS": "4"}),
    ]


def _tests(options: Options, rows: Path) -> list[str]:
    workers = max(1, min(6, usable_cpus() // 2 - 1))
    words = [sys.executable, "-m", "pytest", "tests/gpu", "-v", "-p", "no:cacheprovider", "--durations=15"]
    return [*words, "-n", str(workers if workers > 1 else 0)]


def _module(name: str, *paths: str, work: bool = True) -> Callable[[Options, Path], list[str]]:
    def words(options: Options, rows: Path) -> list[str]:
        given: list[Any] = [sys.executable, "-m", f"benchmarks.gpu.{name}", "--rows", rows]
        given += ["--device", options.device, *(["--quick"] if options.quick else [])]
        for path in paths:
            given += [f"--{path}", getattr(options, path)]
        if paths and work:
            given += ["--work", options.work / name]
            (options.work / name).mkdir(parents=True, exist_ok=True)
        return [str(word) for word in given]

    return words
