"""RRM: reliable regions, mined while a network learns to segment (Zhang et al., AAAI 2020)."""

from tag2mask.recipes.rrm.classification import ClassificationSpec
from tag2mask.recipes.rrm.data import JointData
from tag2mask.recipes.rrm.joint import JointModel
from tag2mask.recipes.rrm.labels import MinedLabelGenerator
from tag2mask.recipes.rrm.mining import RegionMining, reliable_labels
from tag2mask.recipes.rrm.schedule import JointOptimization, two_phase_schedule

__all__ = [
    "ClassificationSpec",
    "JointData",
    "JointModel",
    "JointOptimization",
    "MinedLabelGenerator",
    "RegionMining",
    "reliable_labels",
    "two_phase_schedule",
]
