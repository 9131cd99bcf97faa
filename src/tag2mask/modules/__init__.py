"""The stages as LightningModules."""

from tag2mask.modules.affinity import AffinityNet
from tag2mask.modules.base import Stage
from tag2mask.modules.classifier import CamSpec, Classifier
from tag2mask.modules.inference import InferenceSpec
from tag2mask.modules.loading import load_network, load_stage
from tag2mask.modules.optim import Optimization
from tag2mask.modules.predictor import Predictor
from tag2mask.modules.pseudo_label import AffinityLabelGenerator, PseudoLabelGenerator
from tag2mask.modules.refinements import Background, DenseCRF, RandomWalk, Refinement
from tag2mask.modules.segmentation import SegmentationModel
from tag2mask.modules.segmentation_maps import SegmentationMaps, class_probabilities

__all__ = [
    "AffinityLabelGenerator",
    "AffinityNet",
    "Background",
    "CamSpec",
    "Classifier",
    "DenseCRF",
    "InferenceSpec",
    "Optimization",
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
