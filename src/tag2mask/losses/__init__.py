"""Loss functions, each with a thin module."""

from tag2mask.losses.affinity import AffinityLoss, affinity_loss, boundary_loss
from tag2mask.losses.colour_affinity import ColourAffinityLoss, colour_affinity_loss
from tag2mask.losses.dense_energy import DenseEnergyLoss, dense_energy_loss
from tag2mask.losses.generalised_cross_entropy import GeneralisedCrossEntropy, generalised_cross_entropy
from tag2mask.losses.over_processes import known_cross_entropy, mean_over_processes, mean_where
from tag2mask.losses.precision import at_least_float32
from tag2mask.losses.region_smoothness import RegionSmoothnessLoss, region_smoothness_loss
from tag2mask.losses.weighted_energy import EnergySpec, WeightedEnergy

__all__ = [
    "AffinityLoss",
    "ColourAffinityLoss",
    "DenseEnergyLoss",
    "EnergySpec",
    "GeneralisedCrossEntropy",
    "RegionSmoothnessLoss",
    "WeightedEnergy",
    "affinity_loss",
    "at_least_float32",
    "boundary_loss",
    "colour_affinity_loss",
    "dense_energy_loss",
    "generalised_cross_entropy",
    "known_cross_entropy",
    "mean_over_processes",
    "mean_where",
    "region_smoothness_loss",
]
