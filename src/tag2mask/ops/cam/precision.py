"""Which floating point type a network runs fastest in on a device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

import torch

Precision = Literal["auto", "float32", "bfloat16"]
"""``"auto"``: bfloat16 where the hardware multiplies it faster than float32, otherwise float32; an
autocast that is already on stays as it is."""


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions that multiply bfloat16; elsewhere it is slower than float32.

    Example:
        >>> multiplies_bfloat16(torch.device("meta"))
        False
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older versions of torch cannot tell: float32 is right everywhere.
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    there = torch.cpu.get_capabilities()
    return any(bool(there.get(name)) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """A context in which networks on `device` run in the wanted precision.

    Raises:
        ValueError: an unknown precision.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be one of {get_args(Precision)}, got {precision!r}")
    if precision == "float32":
        return torch.autocast(device.type, enabled=False)
    if precision == "auto" and (torch.is_autocast_enabled(device.type) or not multiplies_bfloat16(device)):
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
