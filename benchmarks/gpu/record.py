"""Results on disk the moment they are there, and the machine they come from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch

from benchmarks.tables import machine
from tag2mask.core import usable_cpus

Row = dict[str, Any]


def append(path: Path, row: Row) -> None:
    """Add one row to a file of JSON lines: a part that is stopped later has lost nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read(path: Path) -> list[Row]:
    """The rows of a file of JSON lines; none where it does not exist."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def card(device: str) -> str:
    """Name of the card, or of the processor where there is none."""
    return torch.cuda.get_device_name(0) if device == "cuda" else str(machine()["processor"])


def slug(name: str) -> str:
    """A name as part of a file name: letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def about(device: str) -> Row:
    """The machine, the card and the versions that matter."""
    found = machine()
    found["cores"] = usable_cpus()
    found["card"] = card(device)
    if device == "cuda":
        facts = torch.cuda.get_device_properties(0)
        found["memory_gb"] = round(facts.total_memory / 2**30, 1)
        found["multiprocessors"] = facts.multi_processor_count
        found["cuda"] = torch.version.cuda
    return found
