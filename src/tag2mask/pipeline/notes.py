"""What a step's folder remembers of its last start, for messages: the file ``inputs.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tag2mask.artifacts import atomic_write_json

INPUTS_NAME = "inputs.json"


def read_inputs(folder: Path) -> dict[str, dict[str, Any]]:
    """What the commands of a step were started with: fingerprint and parts of each, {} if unknown."""
    return {k: v for k, v in known_json(folder / INPUTS_NAME).items() if _is_note(v)}


def known_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file that a run can do without; {} where there is none, or it is broken."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}


def _is_note(plain: Any) -> bool:
    """Whether it has the form that `write_input` gives it; other notes tell nothing."""
    if not isinstance(plain, dict) or not isinstance(plain.get("fingerprint"), str):
        return False
    parts = plain.get("parts")
    tables = ("parents", "files", "settings")
    return (
        isinstance(parts, dict)
        and all(isinstance(parts.get(name, {}), dict) for name in tables)
        and isinstance(parts.get("options", []), list)
        and all(isinstance(option, str) for option in parts.get("options", []))
    )


def write_input(folder: Path, command: str, fingerprint: str, parts: Mapping[str, Any]) -> None:
    """Note what a command is about to be started with."""
    record = {"fingerprint": fingerprint, "parts": dict(parts)}
    atomic_write_json(folder / INPUTS_NAME, {**read_inputs(folder), command: record})
