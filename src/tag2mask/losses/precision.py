"""The precision that losses are computed in."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """The values as float32 where they are less precise: sums over pixels lose too much in bfloat16."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
