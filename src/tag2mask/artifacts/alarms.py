"""Reads the alarms about a step from what it has left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tag2mask.artifacts.files import read_json
from tag2mask.artifacts.names import SCORE_NAME
from tag2mask.artifacts.score import read_metrics
from tag2mask.core.alarms import Alarm, training_alarms
from tag2mask.core.errors import UserError


def read_alarms(step_dir: str | Path) -> list[Alarm]:
    """The alarms that scoring wrote down, or those about the training alone where nothing is scored.

    Args:
        step_dir: a step's folder.

    Raises:
        UserError: a file is broken.
    """
    score = read_json(Path(step_dir) / SCORE_NAME)
    if score is None or "alarms" not in score:
        return training_alarms(read_metrics(step_dir))
    try:
        return [_alarm(plain) for plain in _list(score["alarms"])]
    except TypeError as error:
        raise UserError(f"{Path(step_dir) / SCORE_NAME} holds alarms of another form: delete it") from error


def _list(plain: Any) -> list[dict[str, Any]]:
    if not isinstance(plain, list) or not all(isinstance(item, dict) for item in plain):
        raise TypeError("not a list of mappings")
    return plain


def _alarm(plain: dict[str, Any]) -> Alarm:
    if not all(isinstance(value, str) for key, value in plain.items() if key != "unusable"):
        raise TypeError("not a text")
    return Alarm(**plain)
