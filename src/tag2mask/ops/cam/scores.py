"""Scores of class activation maps: normalisation, and the background that they leave."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tag2mask.core import NotFiniteError

Maps = TypeVar("Maps", Tensor, npt.NDArray[np.float32])

EPS = 1e-5
"""Added to a class's maximum before dividing by it, as in the code of PSA."""


def background_score(cams: Maps, alpha: float) -> Maps:
    """Background score of each pixel, ``(1 - max_c cam_c) ** alpha`` (Ahn and Kwak 2018, eq. 2).

    A smaller alpha gives a higher background score.

    Args:
        cams: (K, H, W) activation maps in [0, 1], tensor or array; K may be 0.
        alpha: exponent, above 0.

    Returns:
        (H, W) scores in [0, 1]; 1 everywhere when K is 0.

    Raises:
        ValueError: `cams` is not (K, H, W) or not finite, or `alpha` is not above 0 or infinite.

    Example:
        >>> background_score(torch.tensor([[[0.5]], [[0.2]]]), alpha=2)
        tensor([[0.2500]])
    """
    _check_maps(cams)
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha must be above 0, got {alpha}")
    if isinstance(cams, Tensor):
        zeros = cams.new_zeros((1, *cams.shape[1:]))
        return (1 - torch.cat([zeros, cams]).amax(0)).clamp(0, 1) ** alpha
    score: Maps = (1 - cams.max(axis=0, initial=0)).clip(0, 1) ** np.float32(alpha)
    return score


def alpha_for_level(level: float) -> float:
    """The alpha at which the background score equals the CAM score at `level`: (1 - c)^alpha = c.

    Maps of another backbone or training are flatter or sharper, so a published alpha does not carry
    over to them. The score at which an object should begin does: give that level, and pixels whose
    strongest map lies above it are foreground, those below it background.

    Args:
        level: CAM score c in (0, 1).

    Returns:
        ``ln(c) / ln(1 - c)``.

    Raises:
        ValueError: `level` is not between 0 and 1.

    Example:
        >>> alpha_for_level(0.5), round(alpha_for_level(0.2), 2)
        (1.0, 7.21)
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    return math.log(level) / math.log1p(-level)


def maps_of(maps: Maps, classes: Sequence[int]) -> Maps:
    """The maps (M, ...) of some classes, given as indices 1..K, among those of all K; background has none."""
    return maps[[k - 1 for k in classes]]


def normalise_cams(cams: Maps) -> Maps:
    """ReLU, then divide each class's map by its maximum + 1e-5.

    Args:
        cams: (K, H, W) raw or summed activation maps, tensor or array.

    Returns:
        (K, H, W) in [0, 1); a map without a positive value is 0.

    Raises:
        ValueError: `cams` is not (K, H, W) or not finite.

    Example:
        >>> normalise_cams(torch.tensor([[[4.0, -1.0]]])).round(decimals=3)
        tensor([[[1., 0.]]])
    """
    _check_maps(cams)
    if isinstance(cams, Tensor):
        positive = cams.clamp(min=0)
        return positive / (positive.amax((1, 2), keepdim=True) + EPS)
    kept = cams.clip(0, None)
    shares: Maps = kept / (kept.max(axis=(1, 2), keepdims=True, initial=0) + np.float32(EPS))
    return shares


def _check_maps(cams: Tensor | npt.NDArray[np.float32]) -> None:
    if cams.ndim != 3:
        raise ValueError(f"cams must be (K, H, W), got {tuple(cams.shape)}")
    finite = cams.isfinite() if isinstance(cams, Tensor) else np.isfinite(cams)
    if not bool(finite.all()):
        raise NotFiniteError("cams holds NaN or infinity")
