"""Data configurations that commands write, for ``--data``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tag2mask.artifacts.files import atomic_write_text


def write_config(path: Path, dataset: Mapping[str, Any], comment: str) -> None:
    """Write a data configuration for ``--data``.

    Args:
        path: the YAML file.
        dataset: class path and arguments, as `ImageSet.describe` gives them.
        comment: a sentence for its first line.
    """
    plain = {"data": {"init_args": {"dataset": dict(dataset)}}}
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    atomic_write_text(path, f"# {comment}\n{text}")
