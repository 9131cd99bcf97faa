"""``tag2mask bench``: starts the benchmarks of a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import tag2mask
from tag2mask.core import UserError


def find_checkout() -> Path:
    """The folder of the checkout that this package runs from.

    Raises:
        UserError: the package was installed without its repository.
    """
    root = Path(tag2mask.__file__).resolve().parents[2]
    if not (root / "benchmarks" / "__main__.py").is_file():
        raise UserError(
            "the benchmarks are part of the repository, not of the installed package: "
            "clone it and run 'make bench' there"
        )
    return root


def run(options: Sequence[str]) -> int:
    """Pass options on to ``python -m benchmarks`` and give its exit code.

    Raises:
        UserError: see `find_checkout`.
    """
    root = find_checkout()
    path = os.pathsep.join(p for p in (str(root), os.environ.get("PYTHONPATH", "")) if p)
    command = [sys.executable, "-m", "benchmarks", *options]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode
