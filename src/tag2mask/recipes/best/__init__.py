"""Cross-fitting: folds of the images, and maps by networks that did not train on them."""

from tag2mask.recipes.best.folds import OtherFolds, fold_of
from tag2mask.recipes.best.maps import CrossFittedMaps

__all__ = ["CrossFittedMaps", "OtherFolds", "fold_of"]
