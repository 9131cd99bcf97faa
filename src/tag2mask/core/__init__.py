"""Batch types, class lists, errors, alarms and tables: what every other package may import."""

from tag2mask.core.alarms import Alarm, training_alarms
from tag2mask.core.batch import ImageSample, TrainBatch, tag_indices
from tag2mask.core.batches import divisors, images_at_once
from tag2mask.core.classes import IGNORE, VOC_NAMES, ClassList, Unknown
from tag2mask.core.errors import NotFiniteError, UserError, unknown_name
from tag2mask.core.memory import keep_freed_memory
from tag2mask.core.results import (
    FeaturesResult,
    LabelsResult,
    RegionsResult,
    ScoreMaps,
    SubLabelsResult,
)
from tag2mask.core.spread import spread
from tag2mask.core.threads import map_threads, thread_pool, usable_cpus

__all__ = [
    "IGNORE",
    "VOC_NAMES",
    "Alarm",
    "ClassList",
    "FeaturesResult",
    "ImageSample",
    "LabelsResult",
    "NotFiniteError",
    "RegionsResult",
    "ScoreMaps",
    "SubLabelsResult",
    "TrainBatch",
    "Unknown",
    "UserError",
    "divisors",
    "images_at_once",
    "keep_freed_memory",
    "map_threads",
    "spread",
    "tag_indices",
    "thread_pool",
    "training_alarms",
    "unknown_name",
    "usable_cpus",
]
