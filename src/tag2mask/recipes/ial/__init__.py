"""IAL: iterative affinity learning (Wang, Liu, Ma and Yang, IJCV 2020).

What the paper adds: seeds with unknown pixels, superpixels, a network that finds confident ones, and
a spatial propagation network that learns from them and refines the unary network's result.
"""

from tag2mask.recipes.ial.pairwise import PairwiseLearner
from tag2mask.recipes.ial.pairwise_data import PairwiseData
from tag2mask.recipes.ial.region_data import RegionData
from tag2mask.recipes.ial.region_network import RegionClassifier
from tag2mask.recipes.ial.seeds import SeedLabelGenerator, SuperpixelGenerator
from tag2mask.recipes.ial.unary import UnaryPairwise

__all__ = [
    "PairwiseData",
    "PairwiseLearner",
    "RegionClassifier",
    "RegionData",
    "SeedLabelGenerator",
    "SuperpixelGenerator",
    "UnaryPairwise",
]
