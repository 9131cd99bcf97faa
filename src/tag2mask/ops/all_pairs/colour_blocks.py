"""`colour_kernels` in tensor operations, for any device: sums over all pairs of cells in blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from tag2mask.ops.all_pairs.colour_kernels import RAW, ROWS

_BLOCK_BYTES = 24 * 2**20
"""Of one matrix of a block; about six of them are held at a time."""


def largest_distances(cells: Tensor) -> Tensor:
    """The largest distance between two cells of each image, (B, k, N) -> (B,)."""
    largest = cells.new_zeros(len(cells))
    for rows in _blocks(cells):
        largest = largest.maximum(_distances(cells, rows).amax((1, 2)))
    return largest


def pair_losses(
    cells: Tensor, colours: Tensor, largest: Tensor, reading: int, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Losses of a batch before the division by the number of rows or pairs, and their gradients.

    Args:
        cells: (B, k, N) features.
        colours: (B, 3, N).
        largest: (B,) what colour distances are divided by, above 0.
        reading: ROWS, RAW or LITERAL of `colour_kernels`.
        with_gradient: False leaves the gradient out: (B, k, N) zeros.

    Returns:
        (B,) and (B, k, N).
    """
    losses, grad = cells.new_zeros(len(cells)), torch.zeros_like(cells)
    for rows in _blocks(cells):
        far = _distances(cells, rows)
        shares = far.neg().exp_()
        if reading != RAW:
            shares.div_(shares.sum(-1, keepdim=True))
        gaps = torch.sub(shares, _similarities(colours, rows, largest, reading == ROWS))
        losses += gaps.abs().sum((1, 2))
        if with_gradient:
            _spread(cells, rows, _pulls(far, shares, gaps, reading), grad)
    return losses, grad


def _blocks(cells: Tensor) -> Iterator[slice]:
    count = cells.shape[2]
    rows = max(1, _BLOCK_BYTES // (len(cells) * count * cells.element_size()))
    return (slice(first, first + rows) for first in range(0, count, rows))


def _steps(cells: Tensor, channel: int, rows: slice) -> Tensor:
    """Differences x_p - x_q of one channel, (B, rows, N)."""
    return cells[:, channel, rows, None] - cells[:, channel, None]


def _distances(cells: Tensor, rows: slice) -> Tensor:
    """Euclidean distances of some cells to all, (B, rows, N).

    By differences: products of matrices cancel between near cells, and cdist takes a block of a GPU's
    threads for each pair.
    """
    total = _steps(cells, 0, rows).square_()
    for channel in range(1, cells.shape[1]):
        step = _steps(cells, channel, rows)
        total.addcmul_(step, step)
    return total.sqrt_()


def _similarities(colours: Tensor, rows: slice, largest: Tensor, by_row: bool) -> Tensor:
    similar = _distances(colours, rows).div_(-largest[:, None, None]).add_(1)
    return similar.div_(similar.sum(-1, keepdim=True)) if by_row else similar


def _pulls(far: Tensor, shares: Tensor, gaps: Tensor, reading: int) -> Tensor:
    """Slope by the distance, over the distance, of each pair; 0 at distance 0. Overwrites `gaps`."""
    slopes = gaps.sign_().mul_(shares)
    if reading != RAW:
        slopes.addcmul_(shares, slopes.sum(-1, keepdim=True), value=-1)
    return slopes.div_(far).neg_().masked_fill_(far == 0, 0)


def _spread(cells: Tensor, rows: slice, pulls: Tensor, grad: Tensor) -> None:
    """Add the gradient by both ends of the pairs."""
    for channel in range(cells.shape[1]):
        parts = _steps(cells, channel, rows).mul_(pulls)
        grad[:, channel, rows] += parts.sum(2)
        grad[:, channel] -= parts.sum(1)
