"""Loss functions, each with a thin module."""

from tag2mask.losses.affinity import AffinityLoss, affinity_loss

__all__ = ["AffinityLoss", "affinity_loss"]
