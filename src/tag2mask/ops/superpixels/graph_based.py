"""Superpixels: small regions of one colour."""

from __future__ import annotations

import math
from typing import overload

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tag2mask.ops.layout import as_array, as_given, check_image
from tag2mask.ops.superpixels.kernels import blur_kernel, edge_kernel, merge_kernel

Pixels = npt.NDArray[np.uint8]

_LARGEST_SIGMA = 1000
_NO_BLUR = 1e-15


@overload
def felzenszwalb(image: Tensor, scale: float = ..., sigma: float = ..., min_size: int = ...) -> Tensor: ...


@overload
def felzenszwalb(
    image: Pixels, scale: float = ..., sigma: float = ..., min_size: int = ...
) -> npt.NDArray[np.int64]: ...


def felzenszwalb(
    image: Tensor | Pixels, scale: float = 100, sigma: float = 0.8, min_size: int = 50
) -> Tensor | npt.NDArray[np.int64]:
    """Graph-based segmentation of an image (Felzenszwalb and Huttenlocher, IJCV 2004).

    Neighbouring pixels (8 to a pixel) are taken in the order of their colour distance. Their regions join
    if the distance is below Int + scale / size of both, where Int is the largest distance at which the
    region itself was joined (section 3.1). Each label is that of `skimage.segmentation.felzenszwalb`, in
    about half the time. Compiled at the first call. Several threads may call it at once.

    Args:
        image: uint8 RGB (3, H, W), tensor or array.
        scale: above 0, in units of 8-bit colours; a larger one gives larger regions. With the defaults of
            the three settings an image of 500 x 375 has some hundred regions.
        sigma: standard deviation in pixels of the Gaussian that smooths the image first; 0 for none.
        min_size: least number of pixels of a region, unless the image is smaller.

    Returns:
        int64 (H, W), connected regions 0, 1, ... in the order of their first pixels: an array, or a tensor
        on the device of `image` if that is a tensor.

    Raises:
        ValueError: an image of another type or shape or without pixels; settings outside their range.

    Example:
        >>> image = np.zeros((3, 20, 30), np.uint8)
        >>> image[:, :, 15:] = 200
        >>> labels = felzenszwalb(image, sigma=0)
        >>> [int(label) for label in (labels[0, 14], labels[0, 15], labels.max())]
        [0, 1, 1]
    """
    pixels = as_array("image", image)
    _check(pixels, scale, sigma, min_size)
    height, width = pixels.shape[1:]
    smooth = _blur(pixels, sigma).reshape(-1, 3)
    count = height * (width - 1) + (height - 1) * width + 2 * (height - 1) * (width - 1)
    costs, edges = np.empty(count), np.empty(count, np.int32)
    edge_kernel(smooth, width, costs, edges)
    labels = np.empty(height * width, np.int64)
    # The order of equal costs matters: it has to be the one of NumPy's default sort.
    merge_kernel(edges, costs, np.argsort(costs), width, scale / 255, int(min_size), labels)
    return as_given(labels.reshape(height, width), image)


def _check(image: Pixels, scale: float, sigma: float, min_size: int) -> None:
    check_image(image)
    if image.dtype != np.uint8:
        raise ValueError(f"image must be uint8, got {image.dtype}")
    if image.shape[1] * image.shape[2] >= 1 << 29:
        raise ValueError(f"image has {image.shape[1]} x {image.shape[2]} pixels; the most is 2^29 - 1")
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must be above 0, got {scale}")
    if not 0 <= sigma <= _LARGEST_SIGMA:
        raise ValueError(f"sigma must lie in 0..{_LARGEST_SIGMA} pixels, got {sigma}")
    if min_size != int(min_size) or min_size < 0:
        raise ValueError(f"min_size must be a whole number from 0 on, got {min_size}")


def _blur(image: Pixels, sigma: float) -> npt.NDArray[np.float64]:
    """(H, W * 3) in [0, 1], smoothed with a Gaussian cut off at 4 sigma; the image is mirrored outside."""
    height, width = image.shape[1:]
    unit = image.transpose(1, 2, 0).reshape(height, -1) * np.float64(1 / 255)
    if sigma <= _NO_BLUR:
        return unit
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 / (sigma * sigma) * np.arange(-reach, reach + 1) ** 2)
    weights = (weights / weights.sum())[reach:]
    out = np.empty_like(unit)
    rows, columns = (np.pad(np.arange(side), reach, "symmetric") for side in (height, width))
    blur_kernel(unit, weights, rows, columns, out)
    return out
