"""The links of a pseudo-label chain: each turns the score maps of one image into better ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.core import IGNORE, UserError, unknown_name
from tag2mask.ops import (
    CRF_CAM,
    CRF_DEEPLAB,
    CRF_DSRG,
    CRF_LABELS,
    CRFParams,
    affinity_graph,
    alpha_for_level,
    background_score,
    dense_crf,
    random_walk,
    unary_from_labels,
)

CRF_SETS: dict[str, CRFParams] = {
    "cam": CRF_CAM,
    "labels": CRF_LABELS,
    "dsrg": CRF_DSRG,
    "deeplab": CRF_DEEPLAB,
}
"""The published CRF parameter sets by the name that configs use."""


@dataclass(frozen=True)
class ScoreMaps:
    """Score maps of one image.

    Attributes:
        maps: (M, h, w) float32 scores in [0, 1] on the CPU.
        classes: (M,) index 0..K of each map; 0 is background.
    """

    maps: Tensor
    classes: list[int]

    def resized(self, size: tuple[int, int]) -> ScoreMaps:
        """The maps at another size (bilinear)."""
        if tuple(self.maps.shape[-2:]) == size:
            return self
        maps = F.interpolate(self.maps[None], size, mode="bilinear", align_corners=False)[0]
        return replace(self, maps=maps)

    def labels(self) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
        """The class index 0..K with the highest score at each pixel, uint8 (h, w)."""
        table = np.asarray(self.classes, np.uint8)
        winners: np.ndarray[tuple[int, int], np.dtype[np.uint8]] = table[self.maps.max(0).indices.numpy()]
        return winners


class ImageView:
    """An image and, when a link asks for them, its affinity features.

    Args:
        pixels: uint8 (3, H, W) RGB.
        features: makes (C, ceil(H/8), ceil(W/8)) from the pixels; None where no AffinityNet is given.
    """

    def __init__(self, pixels: Tensor, features: Callable[[Tensor], Tensor] | None = None) -> None:
        self.pixels = pixels
        self._features = features

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return int(self.pixels.shape[-2]), int(self.pixels.shape[-1])

    @cached_property
    def affinity_features(self) -> Tensor:
        """AffinityNet's features of the image."""
        if self._features is None:
            raise UserError("a random walk needs an AffinityNet: give model.init_args.affinity_from")
        return self._features(self.pixels)


class Refinement(ABC):
    """One link of the chain. A new one subclasses this and is named in YAML by its class path.

    Args:
        enabled: false leaves the link out of the chain.
    """

    needs_affinity = False

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled

    @abstractmethod
    def __call__(self, scores: ScoreMaps, image: ImageView) -> ScoreMaps:
        """Better maps of the image from its maps so far."""


class Background(Refinement):
    """Add a background map (1 - max_c cam_c) ** alpha (Ahn and Kwak, CVPR 2018, equation 2).

    Maps that already have a background are left as they are.

    Args:
        alpha: the exponent; a larger one makes background scarcer.
        level: in place of alpha: the CAM score at which background and class tie. It carries over
            between backbones, whose maps are flatter or sharper.
        enabled: see `Refinement`.
    """

    def __init__(self, alpha: float | None = None, level: float | None = None, enabled: bool = True) -> None:
        super().__init__(enabled)
        if (alpha is None) == (level is None):
            raise UserError(f"a background needs either alpha or level, got alpha {alpha} and level {level}")
        if level is not None and not 0 < level < 1:
            raise UserError(f"a background level must lie between 0 and 1, got {level}")
        if alpha is not None and not alpha > 0:
            raise UserError(f"a background alpha must be above 0, got {alpha}")
        self.alpha: float = alpha_for_level(level) if alpha is None else alpha  # type: ignore[arg-type]

    def __call__(self, scores: ScoreMaps, image: ImageView) -> ScoreMaps:
        """See the class."""
        if 0 in scores.classes:
            return scores
        background = background_score(scores.maps, self.alpha)
        return ScoreMaps(torch.cat([background[None], scores.maps]), [0, *scores.classes])


class RandomWalk(Refinement):
    """Spread the maps along semantic affinities (Ahn and Kwak, CVPR 2018, equations 11 and 12).

    Args:
        beta: power of the affinities; larger is more careful.
        steps: length of the walk t.
        radius: cells on the stride-8 grid that count as neighbours.
        border: all uses every pair in the image, psa the published pair set.
        tol: largest error of the walk's Chebyshev expansion.
        enabled: see `Refinement`.
    """

    needs_affinity = True

    def __init__(
        self,
        beta: float = 8.0,
        steps: int = 256,
        radius: int = 5,
        border: Literal["all", "psa"] = "all",
        tol: float = 1e-5,
        enabled: bool = True,
    ) -> None:
        super().__init__(enabled)
        self.beta = beta
        self.steps = steps
        self.radius = radius
        self.border: Literal["all", "psa"] = border
        self.tol = tol

    def __call__(self, scores: ScoreMaps, image: ImageView) -> ScoreMaps:
        """See the class; the result lies on the grid of the affinity features."""
        graph = affinity_graph(image.affinity_features, self.radius, self.border)
        here = scores.resized(graph.size)
        device = image.affinity_features.device
        walked = random_walk(graph, here.maps.to(device), self.beta, self.steps, self.tol)
        return replace(here, maps=walked.float().cpu().clamp(0, 1))


class DenseCRF(Refinement):
    """Snap the maps to the image's edges with a fully connected CRF (Kraehenbuehl and Koltun, 2011).

    Args:
        params: a published parameter set: cam, labels, dsrg or deeplab.
        unary: scores feeds the maps in; labels feeds their argmax with `probability`, which suits
            flat maps such as those of a long walk.
        probability: of the winning class, where unary is labels.
        engine: lattice or pydensecrf.
        enabled: see `Refinement`.
    """

    def __init__(
        self,
        params: str = "cam",
        unary: Literal["scores", "labels"] = "scores",
        probability: float = 0.7,
        engine: Literal["lattice", "pydensecrf"] = "lattice",
        enabled: bool = True,
    ) -> None:
        super().__init__(enabled)
        if params not in CRF_SETS:
            raise unknown_name("CRF parameter set", params, CRF_SETS)
        if not 0 < probability < 1:
            raise UserError(f"a CRF's probability must lie between 0 and 1, got {probability}")
        self.params = CRF_SETS[params]
        self.unary = unary
        self.probability = probability
        self.engine: Literal["lattice", "pydensecrf"] = engine

    def __call__(self, scores: ScoreMaps, image: ImageView) -> ScoreMaps:
        """See the class; the result has the image's size."""
        full = scores.resized(image.size)
        if self.unary == "labels":
            winners = full.maps.max(0).indices.numpy().astype(np.uint8)
            unary = unary_from_labels(winners, len(full.classes), self.probability)
        else:
            unary = full.maps.numpy()
        refined = dense_crf(image.pixels, unary, self.params, self.engine)
        return replace(full, maps=torch.from_numpy(refined))


def unknown_below(scores: ScoreMaps, confidence: float) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """The argmax labels, with 255 where the winning score is below `confidence`."""
    labels = scores.labels()
    labels[scores.maps.amax(0).numpy() < confidence] = IGNORE
    return labels
