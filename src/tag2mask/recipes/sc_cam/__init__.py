"""SC-CAM: maps of a classifier that also tells sub-categories apart (Chang et al., CVPR 2020)."""

from tag2mask.recipes.sc_cam.classifier import SubCategoryClassifier
from tag2mask.recipes.sc_cam.cluster import cluster_classes
from tag2mask.recipes.sc_cam.data import FeatureData, SubCategoryData
from tag2mask.recipes.sc_cam.features import FeatureExtractor, SubLabelGenerator

__all__ = [
    "FeatureData",
    "FeatureExtractor",
    "SubCategoryClassifier",
    "SubCategoryData",
    "SubLabelGenerator",
    "cluster_classes",
]
