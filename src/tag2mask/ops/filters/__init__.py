"""Edge-preserving filters and thresholds of maps."""

from tag2mask.ops.filters.guided import guided_filter, self_guided_filter
from tag2mask.ops.filters.otsu import otsu_threshold

__all__ = ["guided_filter", "otsu_threshold", "self_guided_filter"]
