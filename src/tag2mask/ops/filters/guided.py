"""Guided filter: maps take over the edges of an image.

He, Sun and Tang, "Guided Image Filtering", IEEE Transactions on Pattern Analysis and Machine
Intelligence, 2013; as self-guided refinement in Ke and Hsu, "Generating Self-Guided Dense Annotations
for Weakly Supervised Semantic Segmentation", 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tag2mask.ops.filters.box import BoxMean, BoxProducts, BoxSums
from tag2mask.ops.filters.otsu import otsu_threshold
from tag2mask.ops.layout import check_floats, check_image

Array = npt.NDArray[np.floating[Any]]
Maps = TypeVar("Maps", Tensor, Array)


def guided_filter(
    guide: Tensor | Array, maps: Maps, window: int = 35, eps: float = 1e-6, iterations: int = 1
) -> Maps:
    """Filter maps so that inside each window they are a linear function of the guide.

    With the means mu, the covariances S and the mean of the product over a square window,

        a = (S + eps)^-1 (mean(I p) - mu mean(p)),   b = mean(p) - a mu,   q = mean(a) I + mean(b)

    (He et al. 2013, eq. 5, 6 and 8; S is a matrix for a colour guide). Means are over the part of the
    window that lies inside the map. Everything is computed in float64: with eps 1e-6 the differences of
    means would vanish in float32. The time does not depend on the window. Without gradient.

    Args:
        guide: (H, W) gray or (3, H, W) colour, floating point in [0, 1], tensor or array: the image whose
            edges are taken over.
        maps: (K, H, W) floating point, tensor (CPU or CUDA) or array; K may be 0.
        window: odd side of the window in pixels, at least 1.
        eps: above 0; a window is averaged where the variance of the guide lies well below it.
        iterations: at least 1; each filters the result of the one before.

    Returns:
        (K, H, W), of the kind, the dtype and on the device of `maps`. A constant map stays as it is
        but for rounding; other values may leave the range of the input somewhat.

    Raises:
        ValueError: shapes that do not fit; an empty `guide`, or one outside [0, 1]; values that are not
            floating point or not finite; a `window` that is even or below 1; `eps` not above 0;
            `iterations` below 1 or no whole number.

    Example:
        >>> guide = np.array([[0.0, 0.0, 1.0, 1.0]])
        >>> maps = np.array([[[0.1, 0.3, 0.9, 0.7]]])
        >>> guided_filter(guide, maps, window=7).round(3)
        array([[[0.2, 0.2, 0.8, 0.8]]])
    """
    return _repeat(guide, maps, window, eps, iterations, lambda state: state)


def self_guided_filter(
    guide: Tensor | Array, maps: Maps, window: int = 35, eps: float = 1e-6, iterations: int = 15
) -> Maps:
    """Threshold each map at its Otsu value, filter the binary maps, and repeat.

    The self-guided refinement of Ke and Hsu 2018 (section 3.3, eq. 6 to 8). The threshold is part of each
    round, and keeps the maps from growing flatter from round to round.

    Args:
        guide: as in `guided_filter`.
        maps: as in `guided_filter`. A flat map has no foreground and becomes 0.
        window: as in `guided_filter`.
        eps: as in `guided_filter`.
        iterations: rounds of threshold and filter, at least 1.

    Returns:
        (K, H, W), of the kind, the dtype and on the device of `maps`; about 0 to 1.

    Raises:
        ValueError: as `guided_filter`.

    Example:
        >>> guide = np.array([[0.0, 0.0, 1.0, 1.0]])
        >>> maps = np.array([[[0.1, 0.3, 0.9, 0.7]]])
        >>> abs(self_guided_filter(guide, maps, window=7)).round(3)
        array([[[0., 0., 1., 1.]]])
    """
    return _repeat(guide, maps, window, eps, iterations, _binary)


def _binary(maps: Tensor) -> Tensor:
    levels = [otsu_threshold(m) for m in maps]
    return (maps > maps.new_tensor(levels)[:, None, None]).to(maps.dtype)


@torch.no_grad()
def _repeat(
    guide: Tensor | Array,
    maps: Maps,
    window: int,
    eps: float,
    iterations: int,
    before: Callable[[Tensor], Tensor],
) -> Maps:
    image, source = _as_tensor(guide), _as_tensor(maps)
    _check(image, source)
    _check_settings(window, eps, iterations)
    linear = LinearModel(image.to(source.device).double(), window, eps)
    state = source.double()
    for _ in range(int(iterations) if len(state) else 0):
        state = linear.fit(before(state))
    result = state.to(source.dtype)
    if isinstance(maps, Tensor):
        return result
    array: Maps = result.numpy()
    return array


def _as_tensor(values: Tensor | Array) -> Tensor:
    # Copied, because arrays read from a file may be read-only or flipped, which tensors cannot be.
    return values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))


def _check(guide: Tensor, maps: Tensor) -> None:
    check_image(guide, "guide", gray=True)
    if maps.ndim != 3 or maps.shape[1:] != guide.shape[-2:]:
        height, width = guide.shape[-2:]
        raise ValueError(f"maps must be (K, {height}, {width}) for this guide, got {tuple(maps.shape)}")
    check_floats(guide=guide, maps=maps)
    low, high = (float(v) for v in guide.aminmax())
    if low < 0 or high > 1:
        raise ValueError(f"guide must lie in [0, 1], got {low:g} to {high:g}; divide 8-bit images by 255")


def _check_settings(window: int, eps: float, iterations: int) -> None:
    if window != int(window) or window < 1 or window % 2 == 0:
        raise ValueError(f"window must be an odd number of pixels from 1 on, got {window}")
    if not 0 < eps < math.inf:
        raise ValueError(f"eps must be above 0, got {eps}")
    if iterations != int(iterations) or iterations < 1:
        raise ValueError(f"iterations must be a whole number from 1 on, got {iterations}")


class LinearModel:
    """Local linear model of maps on one guide, whose statistics are computed once.

    Args:
        guide: (H, W) or (C, H, W), float64.
        window: see `guided_filter`.
        eps: see `guided_filter`.
        box: how means over windows are taken; default: what suits the device.
    """

    def __init__(self, guide: Tensor, window: int, eps: float, box: type[BoxMean] | None = None) -> None:
        self.guide = guide[None] if guide.ndim == 2 else guide
        channels, height, width = self.guide.shape
        kind = box or (BoxSums if guide.device.type == "cpu" else BoxProducts)
        self.box = kind((height, width), int(window), guide)
        self.mean = self.box(self.guide.clone(memory_format=torch.contiguous_format))
        products = self.guide[:, None] * self.guide
        covariance = self.box(products.contiguous()) - self.mean[:, None] * self.mean
        covariance += eps * torch.eye(channels, dtype=guide.dtype, device=guide.device)[:, :, None, None]
        if channels == 1:
            self.inverse = covariance.reciprocal_()
        else:
            self.inverse = torch.linalg.inv(covariance.permute(2, 3, 0, 1)).permute(2, 3, 0, 1).contiguous()

    def fit(self, maps: Tensor) -> Tensor:
        """(K, H, W) -> (K, H, W)."""
        # The means of maps and products in one call, and so those of rest and slopes: few launches on a GPU.
        stack = maps.new_empty(1 + len(self.guide), *maps.shape)
        stack[0] = maps
        torch.mul(maps, self.guide[:, None], out=stack[1:])
        stack = self.box(stack)
        mean, covariance = stack[0], stack[1:]
        covariance.addcmul_(mean, self.mean[:, None], value=-1)
        self._solve(covariance)
        for slope, centre in zip(covariance, self.mean, strict=True):
            mean.addcmul_(slope, centre, value=-1)
        stack = self.box(stack)
        result: Tensor = stack[0]
        for slope, plane in zip(stack[1:], self.guide, strict=True):
            result = torch.addcmul(result, slope, plane)
        return result

    def _solve(self, covariance: Tensor) -> None:
        """Turn (C, K, H, W) covariances into slopes, in place."""
        if len(covariance) == 1:
            covariance.mul_(self.inverse[0])
            return
        slopes = self.inverse[:, :1] * covariance[0]
        for other in range(1, len(covariance)):
            slopes.addcmul_(self.inverse[:, other, None], covariance[other])
        covariance.copy_(slopes)
