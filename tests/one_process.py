"""`tag2mask` with every step of a run in one process: a dozen would spend a minute on importing alone.

As a program it takes the words of the command line: ``python tests/one_process.py run psa ...``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pytest

from tag2mask import cli
from tag2mask.pipeline import making


def run_child(words: Sequence[str], *_: Any, **__: Any) -> int:
    """In place of `tag2mask.pipeline.process.run_child`: the command behind ``python -m tag2mask``."""
    return cli.main(list(words)[list(words).index("tag2mask") + 1 :])


def main(words: Sequence[str]) -> int:
    """Run a command, with its children in this process and without a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "run_child", run_child)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        return cli.main(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
