"""What this machine has: cores, memory, disk, GPUs."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tag2mask.core.limits import memory_limit
from tag2mask.core.threads import usable_cpus
from tag2mask.pipeline.costs import speed

_ASK = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
_MB = 2**20


@dataclass(frozen=True)
class Machine:
    """What a run can use.

    Attributes:
        cores: CPUs that a process may use.
        speed: of one core, beside that of the table of costs.
        memory_mb: see `memory_mb`.
        disk_mb: free space where the run goes.
        gpu: name of the first GPU, "" where there is none.
        gpu_memory_mb: its memory.
    """

    cores: int
    speed: float
    memory_mb: float | None
    disk_mb: float
    gpu: str = ""
    gpu_memory_mb: float = 0.0


def this_machine(folder: Path) -> Machine:
    """The machine, with the disk that a folder is, or will be, on."""
    there = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    name, memory = _gpu()
    disk = shutil.disk_usage(there).free / _MB
    return Machine(usable_cpus(), speed(), memory_mb(), disk, name, memory)


def memory_mb() -> float | None:
    """Memory of the machine, or less where a container or a job gets less; None where nothing tells."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _MB
    except (ValueError, OSError, AttributeError):
        return None
    return min(whole, (memory_limit() or math.inf) / _MB)


def _gpu() -> tuple[str, float]:
    try:
        told = subprocess.run(_ASK, capture_output=True, text=True, timeout=20, check=True).stdout
        name, memory = told.splitlines()[0].rsplit(",", 1)
        return name.strip(), float(memory)
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return "", 0.0
