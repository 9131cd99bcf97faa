"""Scores of thresholded class activation maps at many thresholds in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tag2mask.core import IGNORE, NotFiniteError
from tag2mask.metrics.confusion import iou_per_class
from tag2mask.metrics.counts import Labels, PixelCounts


class ThresholdSweep(PixelCounts):
    """Confusion of "argmax class where its score > t, else background", for all thresholds t at once.

    Each pixel adds one count at (true class, argmax class, number of thresholds below its score);
    cumulative sums over the last axis give the exact confusion at each threshold.

    The best threshold is chosen with the true masks, so its score is an upper bound for the maps:
    report it beside the score at a threshold that was fixed beforehand, and name it as such.

    Args:
        num_classes: number of classes C, background included.
        thresholds: scores to cut at; compared with the maps in float32.
        ignore_index: true label of pixels that are not scored.

    Raises:
        ValueError: without thresholds; by `update` for wrong shapes, class indices or labels, and
            for NaN in the maps.

    Example:
        >>> sweep = ThresholdSweep(2, thresholds=[0.2, 0.5])
        >>> sweep.update(torch.tensor([[[0.9, 0.3]]]), [1], torch.tensor([[1, 0]]))
        >>> sweep.miou_at(0.2), sweep.best()
        (0.25, (0.5, 1.0))
    """

    levels: Tensor

    def __init__(
        self, num_classes: int, thresholds: Sequence[float], ignore_index: int = IGNORE, **kwargs: Any
    ) -> None:
        if len(thresholds) == 0:
            raise ValueError("thresholds is empty: give at least one")
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2 (background and a class), got {num_classes}")
        chosen = tuple(sorted({float(t) for t in thresholds}))
        super().__init__((num_classes, num_classes, len(chosen) + 1), ignore_index, **kwargs)
        self.thresholds = chosen
        levels = torch.tensor(self.thresholds, dtype=torch.float32)
        self.register_buffer("levels", levels, persistent=False)

    def update(self, cams: Tensor, class_indices: Sequence[int], target: Labels) -> None:
        """Add one image.

        Args:
            cams: (K', H, W) scores of the present classes, in the size of the mask; K' may be 0.
            class_indices: (K',) index 1..C-1 of each map. Where scores tie the first map wins.
            target: (H, W) true labels 0..C-1 or `ignore_index`.
        """
        self._check(cams, class_indices, target)
        true = self._labels("target", target)
        place: Tensor | int = 0  # background, below every threshold
        if len(class_indices) > 0:
            device = self.counts.device
            score, winner = cams.to(device=device, dtype=torch.float32).flatten(1).max(0)
            if bool(score.isnan().any()):
                raise NotFiniteError("cams holds NaN")
            classes = torch.tensor(class_indices, device=device)[winner]
            place = classes * self.counts.shape[2] + torch.bucketize(score, self.levels)
        self._add(true, place)

    def compute(self) -> Tensor:
        """(T,) mean IoU at each of the sorted thresholds."""
        return torch.stack([iou_per_class(self.confusion(t)).nanmean() for t in self.thresholds])

    def confusion(self, threshold: float) -> Tensor:
        """(C, C) int64 pixel counts at one of the thresholds: true class x predicted class.

        Raises:
            ValueError: `threshold` is none of the thresholds of this sweep.
        """
        near = [i for i, t in enumerate(self.thresholds) if abs(t - threshold) < 1e-9]
        if not near:
            raise ValueError(f"threshold {threshold} is not in the sweep: {list(self.thresholds)}")
        counts = self._summed()
        matrix = counts[:, :, near[0] + 1 :].sum(2)
        matrix[:, 0] = counts.sum((1, 2)) - matrix[:, 1:].sum(1)
        return matrix

    def miou_at(self, threshold: float) -> float:
        """Mean IoU at one of the thresholds, over the classes that have a true pixel."""
        return float(iou_per_class(self.confusion(threshold)).nanmean())

    def best(self) -> tuple[float, float]:
        """The threshold with the highest mean IoU (the lowest such one), and that mean IoU."""
        scores = [self.miou_at(t) for t in self.thresholds]
        winner = max(range(len(scores)), key=lambda i: scores[i])
        return self.thresholds[winner], scores[winner]

    def _check(self, cams: Tensor, class_indices: Sequence[int], target: Labels) -> None:
        if cams.ndim != 3 or tuple(cams.shape[1:]) != tuple(target.shape):
            raise ValueError(
                f"cams must be (K, H, W) in the size of target {tuple(target.shape)}, got {tuple(cams.shape)}"
            )
        if len(class_indices) != cams.shape[0]:
            raise ValueError(f"{cams.shape[0]} maps in cams but {len(class_indices)} class_indices")
        if any(not 1 <= i < self.num_classes for i in class_indices):
            raise ValueError(
                f"class_indices must lie in 1..{self.num_classes - 1}, got {list(class_indices)}"
            )
