"""Pseudo-labels from localisation maps: affinity, guided filters and Otsu's threshold."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import ImageSample, LabelsResult, ScoreMaps, UserError, tag_indices
from tag2mask.modules import Predictor, load_network
from tag2mask.ops import feature_walk, guided_filter, otsu_threshold, self_guided_filter
from tag2mask.ops.cam import maps_of
from tag2mask.ops.sizes import grid_of, image_size
from tag2mask.recipes.self_guided.model import GRID, SelfGuidedModel, stretch

FINE_CELL = 2
"""Image pixels per cell of stored maps: a filter's edges are to be seen."""
GRAY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the gray guide."""

Filtering = Literal["threshold_and_filter", "filter"]
Guide = Literal["gray", "colour"]
FilterSize = Literal["image", "grid"]


class SelfGuidedLabelGenerator(Predictor):
    """Labels of each image by the affinities and the guided filters of Ke and Hsu 2018, section 3.

    Args:
        network_from: folder of the step that learned to localise.
        affinity: spread the maps along the learned affinities, R = T A (equation 5).
        sharpness: exponent of the affinities W before their rows are divided by their sums; 1 is the
            paper's. Affinities that follow colours in a straight line (equation 3) are nearly alike, and
            R then is nearly the mean of A; larger exponents keep to the nearest colours.
        iterations: guided filters, one after the other; 0 for none.
        filtering: threshold_and_filter makes maps binary (Otsu) before each filter; filter does so before
            the first one only. The paper's "iter15" leaves it open.
        guide: gray as in equation 8, or the colours.
        window: side of the filter's window in pixels, odd.
        eps: of the filter.
        filter_size: image enlarges R before the threshold and the filters; grid keeps both at the 50 x 50
            cells of the affinities and enlarges their result, as section 3.3 reads to the letter. A window
            of 35 then covers most of the image.
        threads: images at once; null takes one for each usable CPU.
    """

    kind = "labels"

    def __init__(
        self,
        network_from: StepFolder,
        affinity: bool = True,
        sharpness: float = 1.0,
        iterations: int = 15,
        filtering: Filtering = "threshold_and_filter",
        guide: Guide = "gray",
        window: int = 35,
        eps: float = 1e-6,
        filter_size: FilterSize = "image",
        threads: int | None = None,
    ) -> None:
        super().__init__()
        if iterations < 0 or window < 1 or window % 2 == 0 or not eps > 0:
            raise UserError(
                "iterations must be from 0 on, window odd and eps above 0, got "
                f"{iterations}, {window} and {eps}"
            )
        if not sharpness > 0:
            raise UserError(f"sharpness must be above 0, got {sharpness}")
        self.threads = threads
        self._network_lock = threading.Lock()
        self.network = load_network(network_from, SelfGuidedModel)
        self.with_affinity = affinity
        self.sharpness = sharpness
        self.iterations = iterations
        self.filtering: Filtering = filtering
        self.guide: Guide = guide
        self.window = window
        self.eps = eps
        self.filter_size: FilterSize = filter_size

    def predict_image(self, sample: ImageSample) -> LabelsResult | ScoreMaps:
        """Labels (H, W) of one image: background and its tags, no unknown pixel."""
        tagged = tag_indices(sample["tags"])
        return LabelsResult(sample["id"], {"": threshold_labels(self.refined(sample), tagged)})

    def refined(self, sample: ImageSample) -> Tensor:
        """The maps (M, H, W) of an image's tags that labels are cut from; M may be 0."""
        image, tagged = sample["image"], tag_indices(sample["tags"])
        size = image_size(image)
        return self._refined(image, tagged, size) if tagged else torch.zeros(0, *size)

    def _refined(self, image: Tensor, tagged: Sequence[int], size: tuple[int, int]) -> Tensor:
        with self._network_lock:
            maps, features = self.network.localise(image)
        chosen = maps_of(maps, tagged).cpu()
        spread = walk(chosen, features.cpu(), self.sharpness) if self.with_affinity else chosen
        at = GRID if self.filter_size == "grid" else size
        pixels = guide_of(_resized(image.cpu().float(), at), self.guide)
        refined = refine(_resized(spread, at), pixels, self.iterations, self.filtering, self.window, self.eps)
        return _resized(refined, size)


class SelfGuidedMaps(SelfGuidedLabelGenerator):
    """The maps that `SelfGuidedLabelGenerator` cuts into labels, to be looked at (figures 4 and 5).

    R without a filter (iterations 0), G with one; each stretched to [0, 1].
    """

    kind = "maps"

    def predict_image(self, sample: ImageSample) -> ScoreMaps:
        """Maps of the tags of one image, on cells of `FINE_CELL` pixels."""
        maps = self.refined(sample)
        size = image_size(maps)
        cells = grid_of(size, FINE_CELL)
        stored = stretch(_resized(maps, cells)) if len(maps) else torch.zeros(0, *cells)
        return ScoreMaps(sample["id"], stored.float().numpy(), tag_indices(sample["tags"]), size)


def walk(maps: Tensor, features: Tensor, sharpness: float = 1.0) -> Tensor:
    """R = T A on the grid of the affinities (equation 5), stretched to [0, 1].

    Args:
        maps: (M, h, w) localisation maps.
        features: (3, h', w') affinity features.
        sharpness: exponent of the affinities.

    Returns:
        (M, 50, 50).
    """
    small, guide = _resized(maps, GRID), _resized(features, GRID)
    # exp(-d) ** s = exp(-s d)
    return stretch(feature_walk(sharpness * guide, small))


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (C, h, w) at a size; what becomes smaller is averaged, so that no pixel is skipped."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    shrinks = maps.shape[-2] > size[0] or maps.shape[-1] > size[1]
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False, antialias=shrinks)[0]


def guide_of(image: Tensor, guide: Guide) -> Tensor:
    """The guide in [0, 1] of an image (3, H, W): (H, W) gray or (3, H, W) colours."""
    colours = image.double() / 255
    gray: Tensor = colours.movedim(0, 2) @ colours.new_tensor(GRAY)
    return colours if guide == "colour" else gray.clamp(0, 1)


def refine(
    maps: Tensor, guide: Tensor, iterations: int, filtering: Filtering, window: int = 35, eps: float = 1e-6
) -> Tensor:
    """Guided filters on maps made binary by Otsu's threshold (equations 6 to 8).

    Args:
        maps: (M, H, W) in [0, 1].
        guide: (H, W) or (3, H, W) in [0, 1].
        iterations: filters; 0 returns the maps.
        filtering: whether the threshold is part of what is repeated.
        window: see `tag2mask.ops.guided_filter`.
        eps: see there.

    Returns:
        (M, H, W), about 0 to 1.
    """
    if iterations == 0 or len(maps) == 0:
        return maps
    if filtering == "threshold_and_filter":
        return self_guided_filter(guide, maps, window, eps, iterations)
    once = self_guided_filter(guide, maps, window, eps, 1)
    return guided_filter(guide, once, window, eps, iterations - 1) if iterations > 1 else once


def threshold_labels(maps: Tensor, classes: list[int]) -> npt.NDArray[np.uint8]:
    """The highest map among those above their own Otsu threshold, background elsewhere (equation 11).

    Args:
        maps: (M, H, W) refined maps.
        classes: (M,) index 1..K of each.

    Returns:
        (H, W) index 0..K.
    """
    if not classes:
        return np.zeros(tuple(maps.shape[1:]), np.uint8)
    levels = maps.new_tensor([otsu_threshold(m) for m in maps])[:, None, None]
    above = maps.where(maps > levels, -torch.inf)
    best = above.max(0)
    table = torch.tensor(classes)[best.indices]
    return table.masked_fill(best.values == -torch.inf, 0).numpy().astype(np.uint8)
