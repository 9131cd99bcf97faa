"""Cross-fitting: labels by segmentation networks that did not train on the images, mixed with walked maps."""

from tag2mask.recipes.best.folds import OtherFolds, fold_of
from tag2mask.recipes.best.maps import CrossFittedMaps

__all__ = ["CrossFittedMaps", "OtherFolds", "fold_of"]
