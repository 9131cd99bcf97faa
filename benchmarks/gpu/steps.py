"""A whole `tag2mask run` in one process: a dozen new ones would spend minutes on importing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from tag2mask import cli
from tag2mask.pipeline import runner

STEP_DIR = "--step-dir"

MoreWords = Callable[[str, str], Sequence[str]]
"""Step and command (fit, predict) -> words that are added to the command."""


def run_here(run: Sequence[str], more: MoreWords) -> int:
    """What `tag2mask run RUN` does, here and without scores and report; its exit code.

    Args:
        run: what follows `tag2mask run`.
        more: words for each command of a step.
    """

    def in_this_process(words: Sequence[str], *_: Any, **__: Any) -> int:
        given = list(words)[list(words).index("tag2mask") + 1 :]
        if given[0] != "step":
            return 0
        step = Path(given[given.index(STEP_DIR) + 1]).name
        return cli.main([*given, *more(step, given[2])])

    with mock.patch.object(runner, "run_child", in_this_process):
        return cli.main(["run", *run])
