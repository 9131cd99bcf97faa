"""The link of a pseudo-label chain that says where background is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from tag2mask.core import ScoreMaps, UserError
from tag2mask.modules.refinements import ImageView, Refinement
from tag2mask.ops import alpha_for_level, background_score

_HIGHEST = 0.95
"""A level above it would leave little more than each map's maximum, which is 1 by normalisation."""
_log = logging.getLogger(__name__)


def highest_scores(maps: Sequence[ScoreMaps]) -> npt.NDArray[np.float32]:
    """The highest class score of every pixel of some images, in one row.

    Args:
        maps: of the images; those without a class, or with a background, are left out.
    """
    rows = [one.maps.max(0).ravel() for one in maps if one.classes and 0 not in one.classes]
    return np.concatenate(rows) if rows else np.zeros(0, np.float32)


class Background(Refinement):
    """Add a background map (1 - max_c cam_c) ** alpha (Ahn and Kwak, CVPR 2018, equation 2).

    Maps that already have a background are left as they are.

    A level suits maps of one kind. Maps are divided by their maximum, so those of a classifier that saw few
    images, which are high nearly everywhere, lie above any usual level. `most_foreground` bounds what a level
    may mark, as the size constraints of Pathak et al. (ICCV 2015) bound what a network may: where more of the
    data set's pixels lie above the level, it rises to the quantile of their scores that leaves that share. It
    never falls, and where fewer pixels lie above it nothing changes.

    Args:
        alpha: the exponent; a larger one makes background scarcer.
        level: in place of alpha: the CAM score at which background and class tie. It carries over
            between backbones, whose maps are flatter or sharper.
        most_foreground: largest share of the pixels of the data set whose maps may lie above the level, in
            (0, 1); null sets no bound. It is applied once `look_ahead` has seen the maps.
        enabled: see `Refinement`.
    """

    def __init__(
        self,
        alpha: float | None = None,
        level: float | None = None,
        most_foreground: float | None = None,
        enabled: bool = True,
    ) -> None:
        super().__init__(enabled)
        if (alpha is None) == (level is None):
            raise UserError(f"a background needs either alpha or level, got alpha {alpha} and level {level}")
        if level is not None and not 0 < level < 1:
            raise UserError(f"a background level must lie between 0 and 1, got {level}")
        if alpha is not None and not alpha > 0:
            raise UserError(f"a background alpha must be above 0, got {alpha}")
        if most_foreground is not None and not 0 < most_foreground < 1:
            raise UserError(f"a background's most_foreground must lie between 0 and 1, got {most_foreground}")
        self.alpha: float = alpha_for_level(level) if alpha is None else alpha  # type: ignore[arg-type]
        self.most_foreground = most_foreground
        self.looks_ahead = most_foreground is not None

    def look_ahead(self, maps: Sequence[ScoreMaps]) -> None:
        """Raise the level where these maps lie above it in more than `most_foreground` of their pixels.

        Args:
            maps: of images of the data set; those without a class, or with a background, do not count.
        """
        scores = highest_scores(maps)
        if self.most_foreground is None or not scores.size:
            return
        level = min(_HIGHEST, float(np.quantile(scores, 1 - self.most_foreground)))
        if level <= 0 or alpha_for_level(level) >= self.alpha:
            return
        self.alpha = alpha_for_level(level)
        _log.info(
            "flat maps: the background level rises to %.2f, above which %.0f %% of the pixels lie "
            "(most_foreground of Background)",
            level,
            100 * self.most_foreground,
        )

    def __call__(self, scores: ScoreMaps, image: ImageView) -> ScoreMaps:
        """The maps with a background map in front, unless they have one."""
        if 0 in scores.classes:
            return scores
        maps = torch.from_numpy(scores.maps)
        background = background_score(maps, self.alpha)
        return replace(scores, maps=torch.cat([background[None], maps]).numpy(), classes=[0, *scores.classes])
