"""`python -m benchmarks.gpu.operators`: operators and losses on a card beside plain references there."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.operator_cases import CASES, Piece
from benchmarks.gpu.record import Row, append
from benchmarks.harness import Inputs

_BUDGET = 1.5
"""Seconds of timed runs that each side gets, at most."""


def main() -> int:
    """Measure; 1 where a piece failed or differs from its reference."""
    options = _parser().parse_args()
    device = torch.device(options.device)
    gigabytes = copy_bandwidth(device, 2**24 if options.quick else 2**31)
    append(options.rows, {"piece": "copy", "gb_per_second": round(gigabytes, 1)})
    wrong = 0
    for make in CASES:
        try:
            piece = make(Inputs.find(), device, options.quick)
            row = measure(piece, gigabytes, 2 if options.quick else 30)
        except Exception as error:
            traceback.print_exc()
            row = {"piece": make.__name__, "failed": repr(error)[:300], "agrees": False}
        append(options.rows, row)
        wrong += not row["agrees"]
        _empty_cache()
    return int(wrong > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.operators", description=__doc__)
    parser.add_argument("--rows", type=Path, required=True, help="file of JSON lines for the results")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    return parser


def copy_bandwidth(device: torch.device, size: int) -> float:
    """Gigabytes a second, read and written, of copying `size` bytes on the device."""
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = timed(lambda: target.copy_(source), 10)
    return 2 * size / statistics.median(seconds) / 1e9


def measure(piece: Piece, gigabytes: float, repeats: int) -> Row:
    """Time both sides by turns, compare their results, and put the bytes beside the copy bandwidth."""
    expected, reference_mb = _peak(piece.reference)
    result, mb = _peak(piece.ours)
    agreement = piece.agreement(expected, result)
    del expected, result
    theirs, ours = timed(piece.reference, repeats), timed(piece.ours, repeats)
    seconds = statistics.median(ours)
    reached = piece.moved_bytes / seconds / 1e9 if piece.moved_bytes else None
    return {
        "piece": piece.name,
        "reference": piece.reference_name,
        "reference_seconds": statistics.median(theirs) * piece.reference_times,
        "seconds": seconds,
        "ratio": statistics.median(theirs) * piece.reference_times / seconds,
        "moved_mb": piece.moved_bytes / 1e6 if piece.moved_bytes else None,
        "share_of_copy": reached / gigabytes if reached else None,
        "reference_peak_mb": reference_mb,
        "peak_mb": mb,
        "agreement": agreement.text,
        "agrees": agreement.ok,
    }


def timed(run: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of several runs after one that warms up; fewer where a run is long."""
    run()
    _synchronize()
    seconds: list[float] = []
    while len(seconds) < repeats and sum(seconds) < _BUDGET:
        start = time.perf_counter()
        run()
        _synchronize()
        seconds.append(time.perf_counter() - start)
    return seconds


def _peak(run: Callable[[], Any]) -> tuple[Any, float | None]:
    """The second run of something, and by how many MB the card's memory grew in it."""
    run()
    if not torch.cuda.is_available():
        return run(), None
    _synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = run()
    _synchronize()
    return result, (torch.cuda.max_memory_allocated() - before) / 2**20


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _empty_cache() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
