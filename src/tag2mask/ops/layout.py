"""The one layout of images, and tensors beside arrays; the rule stands in `tag2mask.ops`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tag2mask.core import NotFiniteError

Array = npt.NDArray[Any]


def check_image(
    image: Tensor | Array, name: str = "image", batch: int | None = None, gray: bool = False
) -> None:
    """Refuse what is not an image with its channels first.

    Args:
        image: (3, H, W), or (B, 3, H, W) in a batch.
        name: of the argument, for the message.
        batch: B; None for one image.
        gray: also take one gray plane (H, W).

    Raises:
        ValueError: another shape, or no pixels; where the channels come last it says how to turn them.
    """
    shape = tuple(image.shape)
    lead = (3,) if batch is None else (batch, 3)
    if 0 not in shape and (shape[:-2] == lead or (gray and len(shape) == 2)):
        return
    form = f"{'(H, W) or ' if gray else ''}({', '.join(str(n) for n in lead)}, H, W)"
    way_out = ""
    if len(shape) == len(lead) + 2 and shape[-1] == 3 and 0 not in shape:
        axes = (2, 0, 1) if batch is None else (0, 3, 1, 2)
        way_out = f"; put the channels first: {name}.permute{axes}, or {name}.transpose{axes} of an array"
    raise ValueError(f"{name} must be {form} and not empty, got {shape}{way_out}")


def check_floats(**values: Tensor) -> None:
    """Refuse tensors that are not floating point, or hold NaN or infinity; the keywords name them.

    Raises:
        ValueError: the name of the first such tensor, and what is wrong.
    """
    for name, tensor in values.items():
        if not tensor.is_floating_point():
            raise ValueError(f"{name} must be floating point, got {tensor.dtype}")
        if not bool(tensor.isfinite().all()):
            raise NotFiniteError(f"{name} holds NaN or infinity")


def as_array(name: str, data: Tensor | Array) -> Array:
    """A tensor's values as an array on the CPU, without gradient; an array as it is.

    Raises:
        ValueError: neither a tensor nor an array.
    """
    if isinstance(data, Tensor):
        data = data.detach().cpu()
        data = (data.float() if data.dtype == torch.bfloat16 else data).numpy()  # NumPy has no bfloat16
    if not isinstance(data, np.ndarray):
        raise ValueError(f"{name} must be a tensor or an array, got {type(data).__name__}")
    return data


def as_given(result: Array, given: Tensor | Array) -> Tensor | Array:
    """A result as what was given: a tensor on the same device, or an array."""
    return torch.from_numpy(result).to(given.device) if isinstance(given, Tensor) else result
