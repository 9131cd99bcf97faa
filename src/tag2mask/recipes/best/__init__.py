"""Cross-fitting: maps by networks that did not train on the images."""

from tag2mask.recipes.best.maps import CrossFittedMaps

__all__ = ["CrossFittedMaps"]
