"""The steps as LightningModules: networks that train, and what makes a result for each image."""

from tag2mask.modules.affinity import AffinityNet, PairNetwork
from tag2mask.modules.background import Background
from tag2mask.modules.base import TrainableNetwork
from tag2mask.modules.classifier import CamSpec, Classifier
from tag2mask.modules.fold_networks import FoldNetworks
from tag2mask.modules.inference import InferenceSpec
from tag2mask.modules.loading import load_checkpoint, load_network
from tag2mask.modules.optim import Optimization
from tag2mask.modules.predictor import Predictor
from tag2mask.modules.pseudo_label import AffinityLabelGenerator, PseudoLabelGenerator
from tag2mask.modules.refinements import DenseCRF, ImageView, RandomWalk, Refinement
from tag2mask.modules.segmentation import SegmentationModel
from tag2mask.modules.segmentation_maps import SegmentationMaps, class_probabilities

__all__ = [
    "AffinityLabelGenerator",
    "AffinityNet",
    "Background",
    "CamSpec",
    "Classifier",
    "DenseCRF",
    "FoldNetworks",
    "ImageView",
    "InferenceSpec",
    "Optimization",
    "PairNetwork",
    "Predictor",
    "PseudoLabelGenerator",
    "RandomWalk",
    "Refinement",
    "SegmentationMaps",
    "SegmentationModel",
    "TrainableNetwork",
    "class_probabilities",
    "load_checkpoint",
    "load_network",
]
