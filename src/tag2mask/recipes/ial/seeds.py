"""What the rounds start from: seed labels, and the superpixels of every image."""

from __future__ import annotations

import numpy as np

from tag2mask.core import ImageSample, LabelsResult, RegionsResult, UserError
from tag2mask.modules import AffinityLabelGenerator, Predictor
from tag2mask.ops import affinity_labels, felzenszwalb


class SeedLabelGenerator(AffinityLabelGenerator):
    """Seed regions of all classes and background; pixels with a weak response are unknown.

    Wang et al. 2020, section 3.2.1, which takes them from Ahn and Kwak, CVPR 2018: a class where it is
    sure in one map, background where it is sure in the other, and 255 elsewhere.

    Args:
        foreground: chain whose foreground labels are trusted.
        background: chain whose background labels are trusted.
        threads: images at once; null takes one for each usable CPU.
        surer: which of the two counts where both are sure, see `AffinityLabelGenerator`.
    """

    kind = "labels"

    def predict_image(self, sample: ImageSample) -> LabelsResult:
        """The seeds (H, W) of one image, 255 where neither map is sure."""
        sides = super().predict_image(sample).labels
        seeds = np.asarray(affinity_labels(sides["fg"], sides["bg"])).astype(np.uint8)
        return LabelsResult(sample["id"], {"": seeds})


class SuperpixelGenerator(Predictor):
    """Felzenszwalb superpixels of each image, made once for all rounds (Wang et al. 2020, section 3.3).

    The paper does not give their settings.

    Args:
        scale: larger gives larger superpixels; see `tag2mask.ops.felzenszwalb`.
        sigma: smoothing before, in pixels.
        min_size: least pixels of a superpixel.
        threads: images at once; null takes one for each usable CPU.
    """

    kind = "superpixels"

    def __init__(
        self, scale: float = 100.0, sigma: float = 0.8, min_size: int = 50, threads: int | None = None
    ) -> None:
        super().__init__()
        if not scale > 0 or sigma < 0 or min_size < 0:
            raise UserError(
                "superpixels need scale above 0, sigma and min_size from 0 on, "
                f"got {scale}, {sigma} and {min_size}"
            )
        self.scale = scale
        self.sigma = sigma
        self.min_size = min_size
        self.threads = threads

    def predict_image(self, sample: ImageSample) -> RegionsResult:
        """Superpixels of an image."""
        labels = felzenszwalb(sample["image"].cpu(), self.scale, self.sigma, self.min_size)
        return RegionsResult(sample["id"], labels.numpy())
