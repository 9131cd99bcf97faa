"""Which implementation of an operator runs: compiled for the CPU, or in tensor operations for any device."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

Engine = Literal["auto", "numba", "torch"]
"""``"numba"``: compiled kernels on the CPU. ``"torch"``: tensor operations on any device. ``"auto"``: numba
on the CPU and torch elsewhere."""


def use_kernels(engine: Engine, data: Tensor) -> bool:
    """Whether `engine` means the compiled kernels for tensors like `data`.

    Raises:
        ValueError: an unknown engine, or ``"numba"`` for data that does not lie on the CPU.
    """
    if engine not in get_args(Engine):
        raise ValueError(f"engine must be one of {get_args(Engine)}, got {engine!r}")
    on_cpu = data.device.type == "cpu"
    if engine == "numba" and not on_cpu:
        raise ValueError(f"engine='numba' runs on the CPU, got data on {data.device}")
    return on_cpu and engine != "torch"
