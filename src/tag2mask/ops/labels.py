"""Training labels of an affinity network: confident foreground, confident background, or neutral."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.core import IGNORE
from tag2mask.ops.sizes import grid_of

Labels = TypeVar("Labels", Tensor, npt.NDArray[np.integer[Any]])


def affinity_labels(fg_labels: Labels, bg_labels: Labels) -> Labels:
    """Join two label maps into one with a neutral zone (Ahn and Kwak 2018, section 3.2.1).

    The first comes from a high background score (small alpha), so its foreground is sure. The second
    comes from a low one (large alpha), so its background is sure.

    Args:
        fg_labels: (..., H, W) labels 0..K whose foreground is sure, 255 in padding.
        bg_labels: labels of the same shape whose background is sure, 255 in padding.

    Returns:
        labels of the same shape and type: the foreground class where `fg_labels` has one, but 0
        wherever `bg_labels` is 0, and 255 elsewhere.

    Raises:
        ValueError: different shapes, a tensor beside an array, or a type without the integers 0..255.

    Example:
        >>> affinity_labels(np.array([2, 0, 0, 2, 255]), np.array([2, 2, 0, 0, 255]))
        array([  2, 255,   0,   0, 255])
    """
    if tuple(fg_labels.shape) != tuple(bg_labels.shape):
        raise ValueError(
            f"fg_labels {tuple(fg_labels.shape)} and bg_labels {tuple(bg_labels.shape)} differ in shape"
        )
    _check_type("fg_labels", fg_labels)
    _check_type("bg_labels", bg_labels)
    if isinstance(fg_labels, Tensor) is not isinstance(bg_labels, Tensor):
        raise ValueError("fg_labels and bg_labels must both be tensors or both be arrays")
    if isinstance(fg_labels, Tensor):
        joined = fg_labels.masked_fill(fg_labels == 0, IGNORE)
        return joined.masked_fill(bg_labels == 0, 0)
    table = np.where(fg_labels == 0, IGNORE, fg_labels)
    return np.where(bg_labels == 0, 0, table).astype(fg_labels.dtype)


def _check_type(name: str, labels: Tensor | npt.NDArray[np.integer[Any]]) -> None:
    kind = str(labels.dtype).removeprefix("torch.")
    if not kind.startswith(("int", "uint")) or kind == "int8":
        raise ValueError(f"{name} must hold integers up to {IGNORE}, got {kind}")


def pool_labels(labels: Tensor, num_classes: int, stride: int = 8) -> Tensor:
    """Shrink label maps: each block of stride x stride pixels becomes its most frequent label.

    The same as the argmax of the average-pooled one-hot map, without building one. Pixels of 255 do
    not vote; a block without another pixel becomes 255. Where two labels tie the lower one wins. A
    part of a block at the right or lower border counts as a block.

    Args:
        labels: (B, H, W) integer labels 0..C-1 or 255.
        num_classes: number of labels C, background included; at most 255.
        stride: side of a block in pixels.

    Returns:
        (B, ceil(H / stride), ceil(W / stride)) in the dtype of `labels`.

    Raises:
        ValueError: another shape or type, a stride below 1, `num_classes` outside 1..255, or a label
            that is no class.

    Example:
        >>> pool_labels(torch.tensor([[[1, 2, 255, 255], [2, 0, 255, 255]]]), num_classes=3, stride=2)
        tensor([[[  2, 255]]])
    """
    _check_type("labels", labels)
    if labels.ndim != 3:
        raise ValueError(f"labels must be (B, H, W), got {tuple(labels.shape)}")
    if not 1 <= num_classes <= IGNORE:
        raise ValueError(f"num_classes must lie in 1..{IGNORE}, got {num_classes}")
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    batch, height, width = labels.shape
    rows, columns = grid_of((height, width), stride)
    values = F.pad(labels.long(), (0, columns * stride - width, 0, rows * stride - height), value=IGNORE)
    ignored = values == IGNORE
    if bool(((values < 0) | (values >= num_classes) & ~ignored).any()):
        raise ValueError(f"labels must lie in 0..{num_classes - 1} or be {IGNORE}")
    blocks = torch.arange(batch * rows * columns, device=labels.device).view(batch, rows, 1, columns, 1)
    keys = values.view(batch, rows, stride, columns, stride) + blocks * num_classes
    votes = torch.bincount(keys[~ignored.view_as(keys)], minlength=blocks.numel() * num_classes)
    most, winner = votes.view(batch, rows, columns, num_classes).max(3)
    return torch.where(most > 0, winner, IGNORE).to(labels.dtype)
