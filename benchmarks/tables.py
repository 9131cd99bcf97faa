"""Benchmark results as a Markdown table and as plain data for JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch

from benchmarks.harness import Result
from tag2mask.core.tables import Table

HEADINGS = (
    "piece",
    "reference",
    "reference s",
    "ours s",
    "ratio (bar)",
    "agreement",
    "peak MB, reference / ours",
)


def markdown(results: Sequence[Result]) -> str:
    """One row per case; seconds are medians."""
    return Table(HEADINGS, [_row(r) for r in results]).markdown()


def plain(results: Sequence[Result]) -> dict[str, Any]:
    """Everything that was measured."""
    return {"cases": [_plain(r) for r in results]}


def write(path: Path, found: dict[str, Any], source: str, table: str) -> None:
    """Write what was measured as JSON with the machine and the input, and its table as .md beside it."""
    here = machine()
    path.parent.mkdir(parents=True, exist_ok=True)
    everything = {"machine": here, "input": source, **found}
    path.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    about = f"{here['processor']}, {here['cores']} cores, torch {here['versions']['torch']}, {source}."
    path.with_suffix(".md").write_text(f"{about}\n\n{table}\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """The processor, what of it was used, and the versions that matter."""
    versions = {"torch": torch.__version__, "numba": numba.__version__, "numpy": np.__version__}
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": {"torch": torch.get_num_threads(), "numba": numba.get_num_threads()},
        "python": platform.python_version(),
        "versions": versions,
    }


def _row(result: Result) -> tuple[str, ...]:
    ratio = "" if result.ratio is None else f"{result.ratio:.3g}x ({result.case.bar:g}x)"
    mark = "" if result.reached else " **not reached**"
    return (
        result.case.piece,
        result.case.reference,
        _median(result.reference_seconds),
        _median(result.seconds),
        ratio + mark,
        result.agreement.text + ("" if result.agreement.ok else " **differs**"),
        f"{_mb(result.reference_mb)} / {_mb(result.mb)}",
    )


def _plain(result: Result) -> dict[str, Any]:
    case = result.case
    return {
        "name": case.name,
        "piece": case.piece,
        "reference": case.reference,
        "reference_seconds": result.reference_seconds,
        "seconds": result.seconds,
        "ratio": result.ratio,
        "bar": case.bar,
        "agreement": result.agreement.text,
        "agrees": result.agreement.ok,
        "reference_peak_mb": result.reference_mb,
        "peak_mb": result.mb,
        "peak_mb_bar": case.memory_bar_mb,
        "reached": result.reached,
    }


def _median(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.3g}" if seconds else "does not run"


def _mb(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
