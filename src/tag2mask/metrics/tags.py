"""Scores of predicted tags over a whole data set, for any number of classes."""

from __future__ import annotations

from typing import Literal

from torchmetrics import Metric
from torchmetrics.classification import (
    BinaryAveragePrecision,
    BinaryF1Score,
    MultilabelAveragePrecision,
    MultilabelF1Score,
)


def tag_average_precision(num_classes: int) -> Metric:
    """Average precision per class, of scores (N, K) in [0, 1] and tags (N, K) of 0 and 1.

    torchmetrics' multi-label scores refuse a single class: that is a binary problem for them, whose
    result is one number. Flatten what ``compute`` gives.

    Args:
        num_classes: number of classes K.

    Example:
        >>> import torch
        >>> metric = tag_average_precision(1)
        >>> metric.update(torch.tensor([[0.9], [0.2]]), torch.tensor([[1], [0]]))
        >>> metric.compute().flatten()
        tensor([1.])
    """
    if num_classes == 1:
        return BinaryAveragePrecision()
    return MultilabelAveragePrecision(num_classes, average="none")


def tag_f1(num_classes: int, average: Literal["none", "micro"] = "none") -> Metric:
    """F1 score at 0.5, of scores (N, K) in [0, 1] and tags (N, K) of 0 and 1; see `tag_average_precision`.

    Args:
        num_classes: number of classes K.
        average: none gives a score for each class, micro one for all decisions together.
    """
    return BinaryF1Score() if num_classes == 1 else MultilabelF1Score(num_classes, average=average)
