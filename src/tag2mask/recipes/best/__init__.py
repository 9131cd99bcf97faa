"""Cross-fitting: labels by networks that did not train on the images, where PSA's labels agree with them."""

from tag2mask.recipes.best.agreement import AgreedLabelGenerator
from tag2mask.recipes.best.folds import OtherFolds, fold_of
from tag2mask.recipes.best.maps import CrossFittedMaps

__all__ = ["AgreedLabelGenerator", "CrossFittedMaps", "OtherFolds", "fold_of"]
