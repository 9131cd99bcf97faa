"""Class activation maps: multi-scale inference, normalisation and background scores."""

from tag2mask.ops.cam.inference import multi_scale_cam
from tag2mask.ops.cam.scores import alpha_for_level, background_score, maps_of, normalise_cams

__all__ = ["alpha_for_level", "background_score", "maps_of", "multi_scale_cam", "normalise_cams"]
