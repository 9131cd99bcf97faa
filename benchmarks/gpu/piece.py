"""What is measured: one piece beside its reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import Agreement


@dataclass(frozen=True)
class Piece:
    """One piece beside its reference.

    Attributes:
        name: what is measured, in words.
        reference_name: what it is measured against.
        reference: the reference.
        ours: ours.
        agreement: compares the reference's result with ours.
        moved_bytes: fewest bytes that ours must read and write; 0 where that says nothing.
        reference_times: the reference's whole time is this many times the measured one.
    """

    name: str
    reference_name: str
    reference: Callable[[], Any]
    ours: Callable[[], Any]
    agreement: Callable[[Any, Any], Agreement]
    moved_bytes: float = 0
    reference_times: float = 1
