"""Batch types, class lists and errors: what every other package may import."""

from tag2mask.core.batch import LabelsResult, MapsResult, PhotoSample, RegionsResult, TrainBatch
from tag2mask.core.classes import IGNORE, VOC_NAMES, ClassList
from tag2mask.core.errors import UserError, unknown_name

__all__ = [
    "IGNORE",
    "VOC_NAMES",
    "ClassList",
    "LabelsResult",
    "MapsResult",
    "PhotoSample",
    "RegionsResult",
    "TrainBatch",
    "UserError",
    "unknown_name",
]
