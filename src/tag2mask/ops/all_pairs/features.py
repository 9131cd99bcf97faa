"""Affinities between all cells of a feature map, and one step of a random walk over them."""

from __future__ import annotations

import torch
from torch import Tensor

from tag2mask.ops.layout import check_floats

_ROWS = 1024


def feature_transitions(features: Tensor, rows: slice | None = None) -> Tensor:
    """Row-normalised affinities between all cells of feature maps; differentiable.

    T = D^-1 W with W_pq = exp(-||F_p - F_q||_2) and D_pp = sum_q W_pq (Ke and Hsu 2018, eq. 2).

    Args:
        features: (B, k, H, W) floating point; half precision is computed as float32.
        rows: only these rows of each matrix, in row-major order of the cells. Default: all.

    Returns:
        (B, N, N) for N = H * W, each row sums to 1; with `rows` (B, number of rows, N).

    Raises:
        ValueError: features of another shape, empty, or no floating point.

    Example:
        >>> feature_transitions(torch.zeros(1, 3, 1, 2))
        tensor([[[0.5000, 0.5000],
                 [0.5000, 0.5000]]])
    """
    return feature_distances(features, rows).neg().softmax(-1)


def feature_distances(features: Tensor, rows: slice | None = None) -> Tensor:
    """Euclidean distances ||F_p - F_q||_2 between all cells; see `feature_transitions`.

    Differentiable, with the gradient 0 at distance 0.

    Args:
        features: (B, k, H, W) floating point; half precision is computed as float32.
        rows: only these rows of each matrix.

    Returns:
        (B, N, N), or (B, number of rows, N).

    Raises:
        ValueError: features of another shape, empty, or no floating point.

    Example:
        >>> feature_distances(torch.tensor([[[[0.0, 3.0]], [[0.0, 4.0]]]]))
        tensor([[[0., 5.],
                 [5., 0.]]])
    """
    check_features(features)
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    cells = wide.flatten(2).transpose(1, 2)
    # Products of matrices would cancel: near cells would get distances of 1e-3 instead of 0.
    return torch.cdist(cells[:, rows] if rows else cells, cells, compute_mode="donot_use_mm_for_euclid_dist")


def check_features(features: Tensor) -> None:
    """Raise ValueError unless features are floating point (B, k, H, W) and not empty."""
    if features.ndim != 4 or features.numel() == 0 or not features.is_floating_point():
        raise ValueError(
            "features must be floating point (B, k, H, W) and not empty, got "
            f"{features.dtype} {tuple(features.shape)}"
        )


@torch.no_grad()
def feature_walk(features: Tensor, maps: Tensor) -> Tensor:
    """Spread score maps by one step along the feature affinities, R = T A (Ke and Hsu 2018, eq. 5).

    Holds one stripe of T in memory at a time, never the whole. Without gradient. Half precision is computed
    as float32, also inside of autocast.

    Args:
        features: (k, H, W) floating point.
        maps: (K, H, W) floating point scores on the same grid and device.

    Returns:
        (K, H, W) in the dtype of `maps`, each map within the bounds of its input.

    Raises:
        ValueError: shapes that do not fit, no floating point, NaN or infinity.

    Example:
        >>> feature_walk(torch.zeros(3, 1, 2), torch.tensor([[[1.0, 0.0]]]))
        tensor([[[0.5000, 0.5000]]])
    """
    if features.ndim != 3 or features.numel() == 0:
        raise ValueError(f"features must be (k, H, W) and not empty, got {tuple(features.shape)}")
    if maps.ndim != 3 or maps.shape[1:] != features.shape[1:]:
        height, width = features.shape[1:]
        raise ValueError(f"maps must be (K, {height}, {width}) as the features, got {tuple(maps.shape)}")
    check_floats(features=features, maps=maps)
    dtype = torch.promote_types(torch.promote_types(features.dtype, maps.dtype), torch.float32)
    scores, wide = maps.to(dtype).flatten(1).t(), features[None].to(dtype)
    with torch.autocast(wide.device.type, enabled=False):  # it would round the product to 16 bits
        parts = [feature_transitions(wide, rows)[0] @ scores for rows in row_stripes(len(scores))]
    # An average lies within the bounds; what does not is rounding.
    low, high = scores.aminmax(dim=0)
    return torch.cat(parts).clamp(low, high).t().reshape(maps.shape).to(maps.dtype)


def row_stripes(cells: int) -> list[slice]:
    """Slices of at most 1024 rows, for work on an N x N matrix that does not fit into memory.

    Example:
        >>> row_stripes(1500)
        [slice(0, 1024, None), slice(1024, 1500, None)]
    """
    return [slice(first, min(first + _ROWS, cells)) for first in range(0, cells, _ROWS)]
