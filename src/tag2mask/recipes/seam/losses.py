"""Losses on the class maps of an image and of the same image made small (Wang et al., CVPR 2020)."""

from __future__ import annotations

from torch import Tensor, cat

EPS = 1e-5
"""As in the published code: divisions by a flat map's range."""
LEAST_SHARE = 4
"""One pixel in four, those with the least foreground, is taken for background."""
HARDEST_SHARE = 0.2
"""Share of the values of an image that the cross regularisation counts, the largest."""


def stretched(maps: Tensor) -> Tensor:
    """Each map cut at 0, moved and scaled to 0..1 by its own minimum and maximum; a flat one becomes 0.

    Shape: (..., h, w) -> the same.
    """
    positive = maps.relu()
    low, high = positive.amin((-2, -1), keepdim=True), positive.amax((-2, -1), keepdim=True)
    return (positive - low - EPS).relu() / (high - low + EPS)


def strongest_only(maps: Tensor) -> Tensor:
    """Each pixel's scores below its highest at 0.

    Shape: (B, K, h, w) -> the same.
    """
    return maps * (maps == maps.amax(1, keepdim=True))


def with_background(maps: Tensor) -> Tensor:
    """The strongest class of each pixel behind a background, what it leaves of 1.

    Shape: (B, K, h, w) in 0..1 -> (B, K + 1, h, w).
    """
    return cat([1 - maps.amax(1, keepdim=True), strongest_only(maps)], 1)


def equivariant_regularisation(shrunk: Tensor, of_small: Tensor) -> Tensor:
    """Mean difference between shrunk maps of images and maps of shrunk images.

    Args:
        shrunk: (B, K, h, w) stretched maps, 0 for the classes that are no tags.
        of_small: the same of the small images.

    Returns:
        the mean over all classes, so that it shrinks with the share of absent ones, as published.
    """
    return (shrunk - of_small).abs().mean()


def cross_regularisation(maps: Tensor, refined: Tensor) -> Tensor:
    """How far refined maps of one view are from the maps of the other.

    Args:
        maps: (B, K, h, w) stretched maps of one view, 0 for classes that are no tags; no gradient goes there.
        refined: (B, K + 1, h, w) stretched refined maps of the other, background first.

    Returns:
        mean of the largest fifth of the differences of each image (online hard example mining).
    """
    differences = (with_background(maps.detach()) - refined).abs().flatten(1)
    return differences.topk(max(1, int(HARDEST_SHARE * differences.shape[1]))).values.mean()


def least_foreground(refined: Tensor) -> Tensor:
    """Foreground in the quarter of the pixels that has the least: images have a background.

    Args:
        refined: (B, K, h, w) refined maps of the tags, 0 for other classes.

    Returns:
        the mean over these pixels.
    """
    highest = refined.amax(1).flatten(1)
    lowest = highest.topk(max(1, highest.shape[1] // LEAST_SHARE), largest=False).values
    return lowest.relu().mean()
