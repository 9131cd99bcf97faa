"""The highest value on the straight path between the two cells of a pair."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tag2mask.core import map_threads
from tag2mask.ops.engine import Engine, use_kernels
from tag2mask.ops.pairs.kernels import path_gradient_kernel, path_kernel
from tag2mask.ops.pairs.neighbours import Border, half_plane_offsets, source_windows

Paths = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


@lru_cache(maxsize=512)
def path_cells(offset: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """The cells on the way from a pair's second cell to its first one, both included.

    All cells of the pair's bounding box that lie nearer than 1 to the line through both (Ahn, Cho and Kwak,
    CVPR 2019, section 4.4; how wide a path is, as in their code).

    Args:
        offset: (dy, dx) of the second cell; the first one is (0, 0).

    Returns:
        (y, x) of each cell, the farthest from the first one ahead.

    Example:
        >>> path_cells((1, 2))
        ((1, 2), (0, 2), (1, 1), (0, 1), (1, 0), (0, 0))
    """
    dy, dx = offset
    rows, columns = range(min(dy, 0), max(dy, 0) + 1), range(min(dx, 0), max(dx, 0) + 1)
    cells = [(y, x) for y in rows for x in columns if (dy * x - dx * y) ** 2 < dy * dy + dx * dx]
    return tuple(sorted(cells, key=lambda cell: -abs(cell[0]) - abs(cell[1])))


@lru_cache(maxsize=8)
def _all_paths(radius: int) -> Paths:
    """(cells, 2) of all paths behind each other, and (offsets + 1,) where each begins."""
    paths = [path_cells(offset) for offset in half_plane_offsets(radius)]
    starts = np.cumsum([0, *(len(path) for path in paths)])
    return np.array([cell for path in paths for cell in path], np.int64), starts


def path_maxima(values: Tensor, radius: int = 5, border: Border = "all", engine: Engine = "auto") -> Tensor:
    """The highest value on the path between the cells of each pair; differentiable.

    The gradient goes to the cell with the highest value, of equal ones to the first from the pair's second
    cell on.

    Args:
        values: (B, H, W) floating point, finite; bfloat16 and float16 are computed as float32.
        radius: cells nearer to each other than this form a pair.
        border: which pairs, see `Border`.
        engine: see `Engine`.

    Returns:
        (B, offsets, H, W) planes, 0 where there is no pair.

    Raises:
        ValueError: values that are not (B, H, W), empty or not floating point; an unknown `border` or
            `engine`; a map too small for ``border="psa"``.

    Example:
        >>> path_maxima(torch.tensor([[[0.1, 0.9, 0.2]]]), radius=3)[0, :2, 0]
        tensor([[0.9000, 0.9000, 0.0000],
                [0.9000, 0.0000, 0.0000]])
    """
    if values.ndim != 3 or values.numel() == 0:
        raise ValueError(f"values must be (B, H, W) and not empty, got {tuple(values.shape)}")
    if not values.is_floating_point():
        raise ValueError(f"values must be floating point, got {values.dtype}")
    if values.dtype != torch.float64:
        values = values.float()
    maxima: Tensor = _PathMaxima.apply(values, radius, border, use_kernels(engine, values))
    return maxima


class _PathMaxima(torch.autograd.Function):
    """Keeps where each maximum lies: autograd would keep every value of every path."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, radius: int, border: Border, compiled: bool) -> Tensor:
        windows = source_windows(*values.shape[1:], radius, border)
        planes = values.new_zeros(len(values), len(windows), *values.shape[1:])
        # cells of a map fit into 32 bits, and these planes are as many as those of the maxima
        places = torch.full(planes.shape, -1, dtype=torch.int32, device=values.device)
        run = _forward_compiled if compiled else _forward_shifted
        run(values, windows, _all_paths(radius), planes, places)
        ctx.save_for_backward(places)
        ctx.compiled = compiled
        return planes

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        (places,) = ctx.saved_tensors
        batch, _, height, width = places.shape
        total = grads[0].new_zeros(batch, height * width)
        run = _backward_compiled if ctx.compiled else _backward_scattered
        run(grads[0], places, total)
        return total.view(batch, height, width), None, None, None


def _forward_shifted(
    values: Tensor, windows: npt.NDArray[np.int64], paths: Paths, planes: Tensor, places: Tensor
) -> None:
    width = values.shape[2]
    numbers = torch.arange(values[0].numel(), dtype=torch.int32, device=values.device).view(values.shape[1:])
    cells, starts = paths
    for index, (_, _, top, bottom, left, right) in enumerate(windows.tolist()):
        if top >= bottom or left >= right:
            continue
        path = cells[starts[index] : starts[index + 1]].tolist()
        views = [values[:, top + y : bottom + y, left + x : right + x] for y, x in path]
        highest, which = torch.stack(views, 1).max(1)
        steps = torch.tensor([y * width + x for y, x in path], dtype=torch.int32, device=values.device)
        planes[:, index, top:bottom, left:right] = highest
        places[:, index, top:bottom, left:right] = numbers[top:bottom, left:right] + steps[which]


def _forward_compiled(
    values: Tensor, windows: npt.NDArray[np.int64], paths: Paths, planes: Tensor, places: Tensor
) -> None:
    source = values.detach().contiguous().numpy()
    out, where = planes.numpy(), places.numpy()

    def work(image: int) -> None:
        path_kernel(source[image], windows, *paths, out[image], where[image])

    map_threads(work, range(len(values)), torch.get_num_threads())


def _backward_scattered(grad: Tensor, places: Tensor, total: Tensor) -> None:
    for image, place in enumerate(places):
        there = place >= 0
        total[image].scatter_add_(0, place[there].long(), grad[image][there])


def _backward_compiled(grad: Tensor, places: Tensor, total: Tensor) -> None:
    by_maximum, where, out = grad.contiguous().numpy(), places.numpy(), total.numpy()

    def work(image: int) -> None:
        path_gradient_kernel(by_maximum[image], where[image], out[image])

    map_threads(work, range(len(places)), torch.get_num_threads())
