"""Loss that makes feature affinities follow the colours of the image."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.core import map_threads
from tag2mask.losses.precision import at_least_float32
from tag2mask.ops.all_pairs import colour_blocks as blocks
from tag2mask.ops.all_pairs import colour_kernels as kernels
from tag2mask.ops.all_pairs.features import check_features
from tag2mask.ops.engine import Engine, use_kernels
from tag2mask.ops.layout import check_image

Reading = Literal["rows", "raw", "literal"]
"""What is compared, see `colour_affinity_loss`."""
Norm = Literal["image", "range"]
"""What colour distances are divided by: the largest one in the image, or the largest possible one."""
_LARGEST = math.sqrt(3) * 255


def colour_affinity_loss(
    features: Tensor,
    images: Tensor,
    reading: Reading = "rows",
    norm: Norm = "image",
    size: tuple[int, int] | None = None,
    engine: Engine = "auto",
) -> Tensor:
    """L1 distance between the affinities of features and the colour similarities of the image.

    With W_pq = exp(-||F_p - F_q||_2), T = D^-1 W and M_pq = 1 - norm(||I_p - I_q||_2) over all pairs of
    the N cells (Ke and Hsu 2018, eq. 2 to 4). The printed loss ||T - M||_1 teaches nothing: rows of T
    sum to 1, so that T < M nearly everywhere and the sum is a constant, sum(M) - N. Three readings:

    - ``"rows"`` (default): T against M with rows divided by their sums; mean over rows of the L1
      distance of the row, 0 to 2.
    - ``"raw"``: mean of |W - M|, 0 to 1.
    - ``"literal"``: sum of |T - M|, as printed, mean over images.

    To train only the layer that makes the features (one reading of the paper's "jointly"), detach that
    layer's input. Memory grows with N, not with its square: value and gradient come from one
    pass over blocks of rows.

    Args:
        features: (B, k, H, W) floating point; half precision is computed as float32. NaN gives NaN.
        images: (B, 3, H, W) RGB 0..255, integers or floating point.
        reading: ``"rows"``, ``"raw"`` or ``"literal"``.
        norm: what divides colour distances: ``"image"`` the largest distance in the image, ``"range"``
            sqrt(3) * 255.
        size: (height, width) to which both are resized first (bilinear, antialiased); the paper takes
            (50, 50). Default: as they are, then of one size.
        engine: ``"numba"`` (float32 on the CPU, images on threads), ``"torch"``, or ``"auto"``: numba
            where it can be.

    Returns:
        scalar, at least 0.

    Raises:
        ValueError: shapes that do not fit; empty tensors; features that are not floating point; an unknown
            `reading`, `norm` or `engine`; a `size` that is not above 0; ``"numba"`` for tensors that are not
            float32 on the CPU.

    Example:
        >>> images = torch.tensor([0.0, 0.0, 255.0]).expand(1, 3, 1, 3)  # black, black, white
        >>> alike, apart = torch.zeros(1, 1, 1, 3), torch.tensor([[[[0.0, 0.0, 20.0]]]])
        >>> for features in (alike, apart):
        ...     print(round(float(colour_affinity_loss(features, images)), 3))
        0.889
        0.0
    """
    _check(features, images, reading, norm, size)
    maps, colours = (at_least_float32(v) for v in (features, images))
    if size is not None:
        maps, colours = (F.interpolate(v, size, mode="bilinear", antialias=True) for v in (maps, colours))
    compiled = _compiled(engine, maps, colours)
    return _PairLoss.apply(maps, colours, reading, norm, compiled)  # type: ignore[no-any-return]


def _compiled(engine: Engine, maps: Tensor, colours: Tensor) -> bool:
    on_cpu = use_kernels(engine, maps)
    fits = all(v.device.type == "cpu" and v.dtype == torch.float32 for v in (maps, colours))
    if engine == "numba" and not fits:
        raise ValueError(f"engine='numba' takes float32 on the CPU, got {maps.dtype} on {maps.device}")
    return on_cpu and fits


class _PairLoss(torch.autograd.Function):
    """The loss and, in the same pass over the pairs, its gradient with respect to the features."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, colours: Tensor, reading: Reading, norm: Norm, compiled: bool
    ) -> Tensor:
        cells, images = maps.detach().flatten(2), colours.detach().flatten(2)
        kind, with_gradient = get_args(Reading).index(reading), ctx.needs_input_grad[0]
        work = _by_kernels if compiled else _by_blocks
        losses, grad = work(cells, images, norm, kind, with_gradient)
        count = cells.shape[2]
        terms = {"rows": count, "raw": count**2, "literal": 1}[reading] * len(cells)
        ctx.save_for_backward(grad.div_(terms))
        ctx.shape = maps.shape
        return (losses.sum() / terms).to(maps.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return grad * slopes.reshape(ctx.shape), None, None, None, None


def _by_kernels(
    cells: Tensor, images: Tensor, norm: Norm, reading: int, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    features, colours = (np.ascontiguousarray(v.numpy()) for v in (cells, images))
    grad = np.zeros_like(features if with_gradient else features[:, :, :0])
    losses = np.empty(len(features))

    def work(index: int) -> None:
        largest = np.float32(_LARGEST)
        if norm == "image":
            # A flat image has no distance to divide by: all of them are 0.
            largest = kernels.largest_distance(colours[index]) or np.float32(1)
        losses[index] = kernels.pair_loss(features[index], colours[index], largest, reading, grad[index])

    map_threads(work, range(len(features)), torch.get_num_threads())
    return torch.from_numpy(losses), torch.from_numpy(grad)


def _by_blocks(
    cells: Tensor, images: Tensor, norm: Norm, reading: int, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    if norm == "image":
        largest = blocks.largest_distances(images)
        largest = largest.masked_fill(largest == 0, 1)  # flat: all distances are 0
    else:
        largest = images.new_full((len(images),), _LARGEST)
    return blocks.pair_losses(cells, images, largest, reading, with_gradient)


def _check(features: Tensor, images: Tensor, reading: str, norm: str, size: tuple[int, int] | None) -> None:
    check_features(features)
    check_image(images, "images", batch=len(features))
    if size is None and images.shape[2:] != features.shape[2:]:
        raise ValueError(
            f"features and images must have one size, got {tuple(features.shape[2:])} and "
            f"{tuple(images.shape[2:])}; or give `size`, to which both are resized"
        )
    if size is not None and min(size) < 1:
        raise ValueError(f"size must be (height, width) from 1 on, got {size}")
    for name, value, known in (("reading", reading, get_args(Reading)), ("norm", norm, get_args(Norm))):
        if value not in known:
            raise ValueError(f"{name} must be one of {known}, got {value!r}")


class ColourAffinityLoss(nn.Module):
    """`colour_affinity_loss` as a module, by default on the paper's grid of 50 x 50 cells.

    Shape: features (B, k, h, w), images (B, 3, H, W) -> scalar; with `size` None of one size.
    """

    def __init__(
        self,
        reading: Reading = "rows",
        norm: Norm = "image",
        size: tuple[int, int] | None = (50, 50),
    ) -> None:
        super().__init__()
        self.reading: Reading = reading
        self.norm: Norm = norm
        self.size = size

    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        """The loss, see `colour_affinity_loss`."""
        return colour_affinity_loss(features, images, self.reading, self.norm, self.size)
