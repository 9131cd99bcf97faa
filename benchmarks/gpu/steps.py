"""The commands of a recipe's steps, run in one process: a dozen new ones would spend minutes on importing."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tag2mask import cli

STEP_DIR = "--step-dir"


@dataclass(frozen=True)
class Command:
    """One `tag2mask stage` command of a run.

    Attributes:
        step: name of the step.
        name: fit or predict.
        words: what follows `tag2mask`.
    """

    step: str
    name: str
    words: tuple[str, ...]

    def run(self, more: Sequence[str] = ()) -> None:
        """Run it here.

        Raises:
            RuntimeError: it failed; its message is on standard error.
        """
        code = cli.main([*self.words, *more])
        if code:
            raise RuntimeError(f"{self.step} {self.name} ended with {code}")


def commands(run: Sequence[str]) -> list[Command]:
    """What `tag2mask run RUN --dry-run` would start, in order, without scores and report."""
    words = [sys.executable, "-m", "tag2mask", "run", *_before_options(run)]
    shown = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    lines = [shlex.split(line, comments=True) for line in shown.splitlines()]
    stages = [line[line.index("stage") :] for line in lines if "stage" in line]
    return [Command(_step(line), line[2], tuple(line)) for line in stages]


def _before_options(run: Sequence[str]) -> list[str]:
    """The words with --dry-run before the options that go to the steps."""
    words = list(run)
    place = words.index("--") if "--" in words else len(words)
    return [*words[:place], "--dry-run", *words[place:]]


def _step(words: Sequence[str]) -> str:
    return Path(words[words.index(STEP_DIR) + 1]).name
