"""Class activation maps: multi-scale inference, normalisation and background scores."""

from tag2mask.ops.cam.inference import multi_scale_cam
from tag2mask.ops.cam.scores import alpha_for_level, background_score, normalise_cams

__all__ = ["alpha_for_level", "background_score", "multi_scale_cam", "normalise_cams"]
