"""Scores over a whole data set: confusion, mIoU, precision, coverage, threshold sweeps."""

from tag2mask.metrics.confusion import Confusion, iou_per_class
from tag2mask.metrics.sweep import ThresholdSweep

__all__ = ["Confusion", "ThresholdSweep", "iou_per_class"]
