"""Weights that MXNet saved (``.params``), read without MXNet."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from tag2mask.core import UserError

_LIST = 0x112
"""First number of a file that holds a list of arrays."""
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
"""First number of an array. Files before 2017 have none: there the number of axes comes first."""
_TYPES = ("<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8")
_MOST_AXES, _MOST_ARRAYS, _LONGEST_NAME = 8, 100_000, 1_000


def read_mxnet(path: Path) -> dict[str, Tensor]:
    """The arrays of a file of ``mxnet.nd.save``, of any version, that are dense.

    Nothing in the file is executed, and no length in it is trusted: each is held against what is left
    of the file before anything is read.

    Args:
        path: the file.

    Returns:
        name -> float32 tensor, or int64 for whole numbers; names begin with ``arg:`` or ``aux:``.

    Raises:
        UserError: the file cannot be read, is cut off, or holds something else.
    """
    try:
        with path.open("rb") as file:
            return _Reader(file, path.stat().st_size).arrays()
    except _FormatError as error:
        raise UserError(f"{path} is not a whole file of MXNet weights: {error}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


class _FormatError(Exception):
    """What the bytes say contradicts the format; the file's name is added where it is known."""


class _Reader:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def arrays(self) -> dict[str, Tensor]:
        if self._number("Q") != _LIST:
            raise _FormatError("it does not begin as one")
        self._number("Q")
        values = [self._array() for _ in range(self._count(_MOST_ARRAYS, "arrays"))]
        names = [self._name() for _ in range(self._count(_MOST_ARRAYS, "names"))]
        if len(names) != len(values) or len(set(names)) != len(names):
            raise _FormatError(f"{len(values)} arrays have {len(set(names))} different names")
        return {name: value for name, value in zip(names, values, strict=True) if value is not None}

    def _array(self) -> Tensor | None:
        first = self._number("I")
        if first in (_V2, _V3):
            if self._number("i") != 0:
                raise _FormatError("it holds a sparse array")
            shape = self._shape("q", self._number("I"))
        elif first == _V1:
            shape = self._shape("q", self._number("I"))
        else:
            shape = self._shape("I", first)
        if not shape:
            return None
        self._number("i"), self._number("i")  # the device that it lay on
        kind = self._number("i")
        if not 0 <= kind < len(_TYPES):
            raise _FormatError(f"it holds values of the unknown type {kind}")
        return self._values(np.dtype(_TYPES[kind]), shape)

    def _shape(self, form: str, axes: int) -> list[int]:
        if axes > _MOST_AXES:
            raise _FormatError(f"it holds an array of {axes} axes")
        shape = [self._number(form) for _ in range(axes)]
        if any(side < 0 for side in shape):
            raise _FormatError(f"it holds an array of the shape {shape}")
        return shape

    def _values(self, kind: np.dtype[np.generic], shape: list[int]) -> Tensor:
        count = 1
        for side in shape:
            count *= side
        values = np.frombuffer(self._take(count * kind.itemsize), kind).reshape(shape)
        return torch.from_numpy(values.astype(np.float32 if kind.kind == "f" else np.int64))

    def _name(self) -> str:
        try:
            return self._take(self._count(_LONGEST_NAME, "letters")).decode("utf-8")
        except UnicodeDecodeError:
            raise _FormatError("a name in it is no text") from None

    def _count(self, most: int, what: str) -> int:
        count = self._number("Q")
        if count > most:
            raise _FormatError(f"it claims to hold {count} {what}")
        return count

    def _number(self, form: str) -> int:
        (value,) = struct.unpack(f"<{form}", self._take(struct.calcsize(f"<{form}")))
        return int(value)

    def _take(self, count: int) -> bytes:
        if count > self._left:
            raise _FormatError(f"it ends {count - self._left} bytes too early")
        self._left -= count
        return self._file.read(count)
