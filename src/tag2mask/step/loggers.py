"""The loggers of a step: beside the chosen ones a CSV file, and all write into the step's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

CSV_LOGGER = {
    "class_path": "pytorch_lightning.loggers.CSVLogger",
    "init_args": {"save_dir": "logs", "name": ""},
}
"""Beside every other logger, for the curves of the report; the step's folder is put before ``save_dir``."""


def with_csv(given: Any) -> Any:
    """The chosen loggers with the one of `CSV_LOGGER`, unless it is among them or there shall be none."""
    loggers = as_list(given)
    paths = [getattr(logger, "class_path", "") for logger in loggers]
    if not all(paths) or CSV_LOGGER["class_path"] in paths:  # no path: true or false
        return given
    init_args = Namespace(CSV_LOGGER["init_args"])  # type: ignore[no-untyped-call]
    csv = Namespace(class_path=CSV_LOGGER["class_path"], init_args=init_args)  # type: ignore[no-untyped-call]
    return [*loggers, csv]


def as_list(given: Any) -> list[Any]:
    """One or several of something in a configuration, as a list; none where it is null."""
    return list(given) if isinstance(given, list | tuple) else [] if given is None else [given]


def point_to_folder(loggers: Sequence[Any], step_dir: Path) -> None:
    """Let loggers write into the step's folder, where their arguments name a folder at all.

    Args:
        loggers: the configured ones; changed in place.
        step_dir: the step's folder.
    """
    for logger in loggers:
        if hasattr(logger, "init_args") and "save_dir" in logger.init_args:
            logger.init_args.save_dir = str(step_dir / "logs")
        if hasattr(logger, "init_args") and "step_dir" in logger.init_args:
            logger.init_args.step_dir = str(step_dir)
