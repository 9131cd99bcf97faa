"""Where the non-zeros of a neighbour matrix lie, kept for maps of a size seen before."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tag2mask.ops.pairs import Border, source_windows

_BYTES_KEPT = 256 * 2**20


@dataclass(frozen=True, eq=False)
class CsrPattern:
    """Pattern of a symmetric N x N matrix with one entry for each pair in each direction, and a diagonal.

    Attributes:
        row_starts: (N+1,) int32.
        columns: (nnz,) int32, ascending in each row.
        places: (nnz,) int32: where the entry's value stands in the flattened pair planes, to which the
            value of the diagonal is appended as one more element.
        per_row: (N,) int64 entries of each row.
    """

    row_starts: Tensor
    columns: Tensor
    places: Tensor
    per_row: Tensor

    @property
    def nbytes(self) -> int:
        """Memory of the tensors."""
        tensors = (self.row_starts, self.columns, self.places, self.per_row)
        return sum(t.numel() * t.element_size() for t in tensors)

    def matrix(self, values: Tensor) -> Tensor:
        """The (N, N) sparse CSR matrix with these (nnz,) values."""
        nodes = self.per_row.numel()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
            return torch.sparse_csr_tensor(
                self.row_starts, self.columns, values, (nodes, nodes), check_invariants=False
            )


def _signed_entries(
    height: int, width: int, radius: int, border: Border
) -> list[tuple[int, int, npt.NDArray[np.bool_], int]]:
    """(dy, dx, cells with this neighbour, first place of their values), in order of the column."""
    nodes = height * width
    windows = source_windows(height, width, radius, border)
    entries = [(0, 0, np.ones((height, width), np.bool_), -1)]
    for index, (dy, dx, top, bottom, left, right) in enumerate(windows.tolist()):
        sources = np.zeros((height, width), np.bool_)
        sources[top:bottom, left:right] = True
        partners = np.zeros((height, width), np.bool_)
        if sources.any():
            partners[top + dy : bottom + dy, left + dx : right + dx] = True
        entries.append((dy, dx, sources, index * nodes))
        entries.append((-dy, -dx, partners, index * nodes - (dy * width + dx)))
    return sorted(entries, key=lambda e: e[:2])


def build_pattern(height: int, width: int, radius: int, border: Border) -> CsrPattern:
    """The pattern for one map size, on the CPU."""
    nodes = height * width
    entries = _signed_entries(height, width, radius, border)
    there = np.stack([cells.reshape(-1) for _, _, cells, _ in entries], axis=1)
    node = np.arange(nodes, dtype=np.int32)[:, None]
    steps = np.array([dy * width + dx for dy, dx, _, _ in entries], np.int32)
    starts = np.array([start for _, _, _, start in entries], np.int32)
    places = node + starts
    places[:, len(entries) // 2] = (len(entries) // 2) * nodes
    per_row = there.sum(1)
    row_starts = np.concatenate([[0], np.cumsum(per_row)]).astype(np.int32)
    arrays = (row_starts, (node + steps)[there], places[there], per_row)
    return CsrPattern(*(torch.from_numpy(a) for a in arrays))


class _PatternCache:
    """Patterns by size and device; the least recently used go first when they take too much memory."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int, int, Border, torch.device], CsrPattern] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, height: int, width: int, radius: int, border: Border, device: torch.device) -> CsrPattern:
        key = (height, width, radius, border, device)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        pattern = build_pattern(height, width, radius, border)
        if device.type != "cpu":
            tensors = (pattern.row_starts, pattern.columns, pattern.places, pattern.per_row)
            pattern = CsrPattern(*(t.to(device) for t in tensors))
        with self._lock:
            self._kept[key] = pattern
            while len(self._kept) > 1 and sum(p.nbytes for p in self._kept.values()) > _BYTES_KEPT:
                self._kept.popitem(last=False)
        return pattern


_CACHE = _PatternCache()


def csr_pattern(height: int, width: int, radius: int, border: Border, device: torch.device) -> CsrPattern:
    """The pattern for one map size, built once."""
    return _CACHE.get(height, width, radius, border, device)
