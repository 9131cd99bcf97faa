"""Reliable regions of one crop: where class activation map and dense CRF leave no doubt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tag2mask.core import IGNORE, UserError
from tag2mask.ops import CRF_CAM, CRFParams, alpha_for_level, background_score, dense_crf, normalise_cams

Maps = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
Stage = Literal["cam", "crf", "sure", "reliable"]


@dataclass(frozen=True)
class RegionMining:
    """What counts as reliable (Zhang et al., AAAI 2020, equations 3 to 7, with the values of their code).

    Attributes:
        foreground_alpha: exponent of the background in the CRF that says where foreground is.
        background_alpha: exponent in the CRF and in the map that say where background is.
        foreground_level: in place of foreground_alpha: the score at which background and class tie. It
            carries over between backbones, whose maps are flatter or sharper.
        background_level: the same for background_alpha.
        ratio: share of the pixels that a class wins which is taken, the strongest first (table 1).
        least_score: pixels with a score up to this do not count among them.
        background_score: a background pixel is sure above this.
        crf_score: least probability of the CRF's label.
        require_agreement: the map and the CRF must name the same class (the paper's equation 7); the
            published code, whose numbers the paper has, takes the CRF's label in every sure pixel.
        with_crf: False takes the sure pixels' class from the maps alone (the "CAM" rows of table 2);
            crf_score and the foreground's exponent then have no effect.
    """

    foreground_alpha: float = 4.0
    background_alpha: float = 32.0
    foreground_level: float | None = None
    background_level: float | None = None
    ratio: float = 0.4
    least_score: float = 0.1
    background_score: float = 0.8
    crf_score: float = 0.8
    require_agreement: bool = False
    with_crf: bool = True

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UserError: an exponent is not above 0, a share or score is not one, or agreement with a CRF is
                asked for where there is none.
        """
        for name in ("foreground_alpha", "background_alpha"):
            if not getattr(self, name) > 0:
                raise UserError(f"mining.{name} must be above 0, got {getattr(self, name)}")
        for name in ("foreground_level", "background_level"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < 1:
                raise UserError(f"mining.{name} must lie between 0 and 1, got {getattr(self, name)}")
        if not 0 < self.ratio <= 1:
            raise UserError(f"mining.ratio must lie above 0 and up to 1, got {self.ratio}")
        for name in ("least_score", "background_score", "crf_score"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"mining.{name} must be a score from 0 up to 1, got {getattr(self, name)}")
        if self.require_agreement and not self.with_crf:
            raise UserError("mining.require_agreement compares map and CRF: it needs mining.with_crf true")

    @property
    def alphas(self) -> tuple[float, float]:
        """The exponents for foreground and for background."""
        levels = (self.foreground_level, self.background_level)
        given = (self.foreground_alpha, self.background_alpha)
        pairs = zip(given, levels, strict=True)
        foreground, background = (a if level is None else alpha_for_level(level) for a, level in pairs)
        return foreground, background


def reliable_labels(
    image: npt.NDArray[np.uint8],
    cams: Maps,
    classes: list[int],
    mining: RegionMining,
    crf: CRFParams = CRF_CAM,
    stage: Stage = "reliable",
) -> Labels:
    """Labels of the reliable pixels of a crop, 255 elsewhere.

    A pixel is sure foreground where its class wins the activation maps with one of the strongest
    scores of that class and the CRF finds the class at all; it is sure background where background
    wins with a high score. It is reliable where it is sure and the CRF is confident.

    Args:
        image: (3, H, W) RGB, uint8.
        cams: (M, H, W) averaged activation maps of the classes in the image, at least 0.
        classes: (M,) index 1..K of each.
        mining: what counts as reliable.
        crf: parameters of the CRFs.
        stage: up to where (the paper's figure 3): cam takes what wins the maps in every pixel (c), crf what
            the CRFs say (equation 5; d), sure the maps' sure pixels (equation 6; e), reliable all of it
            (equation 7; f).

    Returns:
        (H, W) index 0..K, or 255.

    Raises:
        ValueError: maps, classes and image do not fit.
    """
    if cams.shape != (len(classes), *image.shape[1:]):
        raise ValueError(f"cams {cams.shape} do not fit {len(classes)} classes and image {image.shape}")
    if not classes:
        return np.full(image.shape[1:], IGNORE, np.uint8)
    scores = normalise_cams(cams.astype(np.float32))
    indices = np.array([0, *classes], np.uint8)
    if stage == "cam":
        won: Labels = indices[_with_background(scores, mining.alphas[1]).argmax(0)]
        return won
    if not mining.with_crf:
        return _sure_labels(scores, range(1, len(indices)), indices, mining)
    foreground, background = (
        dense_crf(image, _with_background(scores, alpha), crf) for alpha in mining.alphas
    )
    found = foreground.argmax(0)
    labels = _crf_labels(found, background.argmax(0) == 0, indices)
    sure = _sure_labels(scores, np.unique(found[found > 0]), indices, mining)
    if stage != "reliable":
        return labels if stage == "crf" else sure
    confident = np.maximum(background[0], foreground[1:].max(0)) >= mining.crf_score
    reliable = (sure != IGNORE) & confident & ((labels == sure) | (not mining.require_agreement))
    return np.where(reliable, labels, IGNORE).astype(np.uint8)


def _with_background(scores: Maps, alpha: float) -> Maps:
    return np.concatenate([background_score(scores, alpha)[None], scores])


def _sure_labels(scores: Maps, found: Iterable[int], indices: Labels, mining: RegionMining) -> Labels:
    """The index of each pixel that the maps are sure of, 255 elsewhere.

    `found` lists the rows 1..M of `scores` with background to look for.
    """
    full = _with_background(scores, mining.alphas[1])
    winner = full.argmax(0)
    sure = np.where((winner == 0) & (full[0] > mining.background_score), 0, IGNORE).astype(np.uint8)
    for place in found:
        won = np.where(winner == place, full[place], 0)
        counted = won[won > mining.least_score]
        if counted.size:
            level = np.percentile(counted, 100 * (1 - mining.ratio))
            sure[won > level] = indices[place]
    return sure


def _crf_labels(found: npt.NDArray[np.intp], is_background: npt.NDArray[np.bool_], indices: Labels) -> Labels:
    """The class that the first CRF finds, background where the second one does, 255 where neither does."""
    return np.where(is_background, 0, np.where(found == 0, IGNORE, indices[found])).astype(np.uint8)
