"""Scores over a whole data set: confusion, mIoU, precision, coverage, threshold sweeps."""

from tag2mask.metrics.confusion import Confusion, iou_per_class
from tag2mask.metrics.sweep import ThresholdSweep
from tag2mask.metrics.tags import AboveChance, ScoreSpread, TagAveragePrecision, TagF1

__all__ = [
    "AboveChance",
    "Confusion",
    "ScoreSpread",
    "TagAveragePrecision",
    "TagF1",
    "ThresholdSweep",
    "iou_per_class",
]
