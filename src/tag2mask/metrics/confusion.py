"""One confusion matrix over a data set, and the scores read from it."""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor

from tag2mask.core import IGNORE, Unknown
from tag2mask.metrics.counts import Labels, PixelCounts


def iou_per_class(matrix: Tensor) -> Tensor:
    """Intersection over union of each class.

    Args:
        matrix: (C, C) or (C, C+1) pixel counts; rows are true classes, columns predicted ones, a
            last extra column counts pixels whose prediction is none of the classes.

    Returns:
        (C,) float64 in [0, 1]; NaN for a class without a true pixel.

    Example:
        >>> iou_per_class(torch.tensor([[3, 1], [0, 0]]))
        tensor([0.7500,    nan], dtype=torch.float64)
    """
    counts = matrix.cpu().double()
    classes = counts.shape[0]
    true = counts.sum(1)
    hit = counts.diagonal()
    union = true + counts[:, :classes].sum(0) - hit
    return torch.where(true > 0, hit / union.clamp(min=1), torch.nan)


class Confusion(PixelCounts):
    """Confusion matrix over all pixels of a data set, never averaged per image (as PASCAL VOC scores).

    A pixel is scored when its true label is not `ignore_index`. A prediction of `ignore_index` means
    "unknown"; published code treats it in three ways, and the score depends on which:

    - ``"ignore"``: unknown pixels are left out;
    - ``"wrong"``: they are misses of their true class (SEAM's evaluator);
    - ``"background"``: they are predictions of class 0 (IRN's evaluator).

    The mean IoU is over the classes that have a scored true pixel. A class without one is left out,
    also when it was predicted somewhere: its false pixels still count against the true classes.
    Coverage, precision, recall and the strict mean IoU do not depend on `unknown`.

    The matrices of all processes are summed when a score is read, so under DDP each process must
    read it.

    Args:
        num_classes: number of classes C, background included.
        ignore_index: label of pixels without a true class, and of unknown predictions.
        unknown: what an unknown prediction counts as.

    Raises:
        ValueError: for `num_classes` < 1 or another `unknown`; by `update` for different shapes, for
            labels that are no integers and for labels that are no class.

    Example:
        >>> metric = Confusion(num_classes=2)
        >>> metric.update(torch.tensor([0, 1, 1, 255]), torch.tensor([0, 1, 0, 1]))
        >>> metric.miou, metric.coverage
        (0.5, 0.75)
    """

    def __init__(
        self, num_classes: int, ignore_index: int = IGNORE, unknown: Unknown = "ignore", **kwargs: Any
    ) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        if 0 <= ignore_index < num_classes:
            raise ValueError(f"ignore_index {ignore_index} is also one of the {num_classes} classes")
        if unknown not in get_args(Unknown):
            raise ValueError(f"unknown must be one of {get_args(Unknown)}, got {unknown!r}")
        super().__init__((num_classes, num_classes + 1), ignore_index, **kwargs)
        self.unknown = unknown

    def update(self, pred: Labels, target: Labels) -> None:
        """Add the pixels of one image or of a batch.

        Args:
            pred: integer labels 0..C-1 or `ignore_index` (unknown), any shape; array or tensor.
            target: true labels 0..C-1 or `ignore_index` (not scored), of the same shape.
        """
        if tuple(pred.shape) != tuple(target.shape):
            raise ValueError(f"pred {tuple(pred.shape)} and target {tuple(target.shape)} differ in shape")
        predicted = self._labels("pred", pred)
        true = self._labels("target", target)
        self._add(true, torch.where(predicted == self.ignore_index, self.num_classes, predicted))

    def compute(self) -> Tensor:
        """The mean IoU as a scalar tensor, so that Lightning can log the metric itself."""
        return iou_per_class(self._scored()).nanmean()

    @property
    def matrix(self) -> Tensor:
        """(C, C+1) int64 pixel counts of all processes: true class x predicted class, unknown last."""
        return self._summed()

    @property
    def miou(self) -> float:
        """Mean IoU in [0, 1] over the classes that have a true pixel; NaN before the first pixel."""
        return float(iou_per_class(self._scored()).nanmean())

    @property
    def per_class_iou(self) -> Tensor:
        """(C,) float64 IoU of each class; NaN for a class without a true pixel."""
        return iou_per_class(self._scored())

    @property
    def precision(self) -> float:
        """Mean over the predicted classes of TP / (TP + FP) on labelled pixels; NaN without any."""
        labelled = self.matrix[:, :-1].cpu().double()
        predicted = labelled.sum(0)
        return float(torch.where(predicted > 0, labelled.diagonal() / predicted, torch.nan).nanmean())

    @property
    def recall(self) -> float:
        """Mean over the classes with a true pixel of TP / (TP + FN), unknown ones missed; NaN without any."""
        matrix = self.matrix.cpu().double()
        true = matrix.sum(1)
        return float(torch.where(true > 0, matrix.diagonal() / true, torch.nan).nanmean())

    @property
    def f_score(self) -> float:
        """Harmonic mean of `precision` and `recall`, both means over classes; NaN before the first pixel.

        So Chang et al. (CVPR 2020, table 2) seem to have it: their 65.1 and 67.0 are more than a mean of the
        classes' own F-scores can be at a mean IoU m of 46.8 and 49.6, which is 2m / (1 + m).
        """
        precision, recall = self.precision, self.recall
        return 2 * precision * recall / (precision + recall) if precision + recall else precision + recall

    @property
    def strict_miou(self) -> float:
        """The mean IoU with unknown predictions as misses of their true class, whatever `unknown` says."""
        return float(iou_per_class(self.matrix).nanmean())

    @property
    def coverage(self) -> float:
        """Share in [0, 1] of the scored pixels whose prediction is not unknown; NaN without any."""
        matrix = self.matrix.cpu().double()
        return float(matrix[:, :-1].sum() / matrix.sum())

    def _scored(self) -> Tensor:
        matrix = self.matrix.clone()
        if self.unknown == "background":
            matrix[:, 0] += matrix[:, -1]
        if self.unknown != "wrong":
            matrix[:, -1] = 0
        return matrix
