"""Counts of a data set's pixels, over all processes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric

Labels = Tensor | npt.NDArray[np.integer[Any]]


def as_labels(name: str, labels: Labels, device: torch.device) -> Tensor:
    """Labels of any integer type as a flat int64 tensor on `device`.

    Raises:
        ValueError: `labels` (called `name`) holds no integers.
    """
    tensor = torch.as_tensor(labels)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"{name} must hold integer labels, got {tensor.dtype}")
    return tensor.to(device=device, dtype=torch.int64).reshape(-1)


def check_range(name: str, labels: Tensor, num_classes: int, also: int) -> None:
    """Raise ValueError unless each of `labels` lies in 0..num_classes-1 or equals `also`."""
    outside = ((labels < 0) | (labels >= num_classes)) & (labels != also)
    if bool(outside.any()):
        value = int(labels[outside][0])
        raise ValueError(f"{name} holds label {value}: allowed are 0..{num_classes - 1} and {also}")


class PixelCounts(Metric):
    """Counts of pixels by true class, and by whatever else the rest of their shape stands for.

    Args:
        shape: of the counts; the first axis is the true class.
        ignore_index: true label of pixels that are not counted.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    counts: Tensor

    def __init__(self, shape: tuple[int, ...], ignore_index: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = shape[0]
        self.ignore_index = ignore_index
        self.add_state("counts", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def _labels(self, name: str, labels: Labels) -> Tensor:
        """Labels 0..C-1 or `ignore_index`, called `name`, as a flat int64 tensor beside the counts."""
        flat = as_labels(name, labels, self.counts.device)
        check_range(name, flat, self.num_classes, self.ignore_index)
        return flat

    def _add(self, true: Tensor, rest: Tensor | int) -> None:
        """Count each pixel at its true class and at `rest`, its place in the flattened other axes."""
        joint = true * self.counts[0].numel() + rest
        joint = joint[true != self.ignore_index]
        self.counts += torch.bincount(joint, minlength=self.counts.numel()).view(self.counts.shape)

    def _summed(self) -> Tensor:
        """The counts of all processes, each of which must ask for them."""
        if self._is_synced:
            return self.counts
        with self.sync_context():
            return self.counts.clone()
