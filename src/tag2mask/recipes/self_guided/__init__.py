"""Self-Guided: maps refined by learned affinities and guided filters (Ke and Hsu, 2018)."""

from tag2mask.recipes.self_guided.labels import (
    SelfGuidedLabelGenerator,
    SelfGuidedMaps,
    refine,
    threshold_labels,
)
from tag2mask.recipes.self_guided.model import AffinitySpec, SelfGuidedModel
from tag2mask.recipes.self_guided.views import ManyViewsModel

__all__ = [
    "AffinitySpec",
    "ManyViewsModel",
    "SelfGuidedLabelGenerator",
    "SelfGuidedMaps",
    "SelfGuidedModel",
    "refine",
    "threshold_labels",
]
