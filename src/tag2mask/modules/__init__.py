"""The stages as LightningModules."""

from tag2mask.modules.affinity import AffinityLearner
from tag2mask.modules.base import Stage, load_network, load_stage
from tag2mask.modules.classifier import Classifier
from tag2mask.modules.predictor import Predictor
from tag2mask.modules.pseudo_label import AffinityLabelGenerator, PseudoLabelGenerator
from tag2mask.modules.refinements import Background, DenseCRF, RandomWalk, Refinement
from tag2mask.modules.segmentation import SegmentationModel
from tag2mask.modules.segmentation_maps import SegmentationMaps, class_probabilities

__all__ = [
    "AffinityLabelGenerator",
    "AffinityLearner",
    "Background",
    "Classifier",
    "DenseCRF",
    "Predictor",
    "PseudoLabelGenerator",
    "RandomWalk",
    "Refinement",
    "SegmentationMaps",
    "SegmentationModel",
    "Stage",
    "class_probabilities",
    "load_network",
    "load_stage",
]
