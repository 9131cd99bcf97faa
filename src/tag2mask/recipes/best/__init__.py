"""Cross-fitting: labels by segmentation networks that did not train on the images, mixed with walked maps."""

from tag2mask.recipes.best.halves import HalfData, half_of
from tag2mask.recipes.best.maps import CrossFittedMaps

__all__ = ["CrossFittedMaps", "HalfData", "half_of"]
