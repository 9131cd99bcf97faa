"""Data sets (read), transforms, and Lightning data modules (split, load).

Names are imported on first use: reading masks for a score needs neither Lightning nor albumentations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tag2mask.core.lazy import lazy_names

if TYPE_CHECKING:
    from tag2mask.data.affinity import AffinityData
    from tag2mask.data.classification import ClassificationData
    from tag2mask.data.folds import OtherFolds
    from tag2mask.data.image_set import ImageSet
    from tag2mask.data.pseudo_label import PseudoLabelData
    from tag2mask.data.segmentation import SegmentationData
    from tag2mask.data.shapes import Shapes
    from tag2mask.data.table import Table
    from tag2mask.data.voc import VOC

_HOME = {
    "ImageSet": "image_set",
    "VOC": "voc",
    "Table": "table",
    "Shapes": "shapes",
    "ClassificationData": "classification",
    "AffinityData": "affinity",
    "PseudoLabelData": "pseudo_label",
    "SegmentationData": "segmentation",
    "OtherFolds": "folds",
}

__all__ = [
    "VOC",
    "AffinityData",
    "ClassificationData",
    "ImageSet",
    "OtherFolds",
    "PseudoLabelData",
    "SegmentationData",
    "Shapes",
    "Table",
]

__getattr__ = lazy_names(__name__, _HOME)
