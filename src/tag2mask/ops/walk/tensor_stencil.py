"""The random walks of some images as one stencil in tensor operations, for any device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.ops.pairs import Border, half_plane_offsets, pair_mask
from tag2mask.ops.walk.graph import AffinityGraph

_BUFFER_BYTES = 64 * 2**20


class WalkStencil:
    """P = D^-1 W^beta of some images on one canvas.

    Cells are in row-major order of the canvas. The weights of a cell's neighbours are planes of the square
    around it, and its neighbours are views of the states, shifted: a product is a multiplication and a sum,
    whatever the number of images, maps and neighbours.

    Args:
        graphs: of one radius, dtype and device; sizes may differ.
        beta: power of the affinities.
    """

    def __init__(self, graphs: Sequence[AffinityGraph], beta: float) -> None:
        radius = graphs[0].radius
        self.height, self.width = (max(g.size[axis] for g in graphs) for axis in (0, 1))
        self.side = 2 * radius - 1
        self.margin = (radius - 1) * (self.width + 1)
        self.weights = self._squares(self._planes(graphs, beta), radius)
        self.inverse = self.weights.sum((2, 3)).reciprocal_()

    def _planes(self, graphs: Sequence[AffinityGraph], beta: float) -> Tensor:
        """(B, offsets, cells) affinities of each cell and its later neighbours."""
        like = graphs[0].distances
        planes = like.new_zeros(len(graphs), len(like), self.height, self.width)
        for plane, graph in zip(planes, graphs, strict=True):
            height, width = graph.size
            there = _pair_mask(height, width, graph.radius, graph.border, like.device)
            torch.mul(graph.weights(beta), there, out=plane[:, :height, :width])
        return planes.flatten(2)

    def _squares(self, planes: Tensor, radius: int) -> Tensor:
        """(B, 1, side, side, cells): each cell's weights to all cells of the square around it."""
        batch, _, cells = planes.shape
        offsets = half_plane_offsets(radius)
        places = [(dy + radius - 1) * self.side + dx + radius - 1 for dy, dx in offsets]
        starts = torch.tensor(
            [self.margin - dy * self.width - dx for dy, dx in offsets], device=planes.device
        )
        # An earlier neighbour holds the weight of the pair: its plane, read that many cells before.
        earlier = (starts[:, None] + torch.arange(cells, device=planes.device)).expand(batch, -1, -1)
        padded = F.pad(planes, (self.margin, self.margin))
        square = planes.new_zeros(batch, self.side**2, cells)
        square[:, places] = planes
        square[:, [self.side**2 - 1 - place for place in places]] = padded.gather(2, earlier)
        square[:, self.side**2 // 2] = 1
        return square.view(batch, 1, self.side, self.side, cells)

    def walk(self, state: Tensor, coefficients: Sequence[float]) -> Tensor:
        """sum_k c_k T_k(P) x for maps x, (B, K, height, width) -> the same."""
        # A walk keeps constants, and rounding grows with the numbers: walk around each map's mean.
        centre = state.mean((2, 3), keepdim=True)
        cells = (state - centre).flatten(2)
        most = max(1, _BUFFER_BYTES // (self.weights.numel() * self.weights.element_size()))
        parts = [self._chebyshev(part, coefficients) for part in torch.split(cells, most, 1)]
        return torch.cat(parts, 1).view_as(state).add_(centre)

    def _chebyshev(self, cells: Tensor, coefficients: Sequence[float]) -> Tensor:
        """By T_k+1 = 2 P T_k - T_k-1, with signs + + - - for k = 0, 1, 2, 3: T_k-1 is then added."""
        previous, current = (F.pad(x, (self.margin, self.margin)) for x in (torch.zeros_like(cells), cells))
        inner = slice(self.margin, self.margin + cells.shape[2])
        products = cells.new_empty(*cells.shape[:2], self.side, self.side, cells.shape[2])
        sums = torch.empty_like(cells)
        total = cells * coefficients[0]
        for k, coefficient in enumerate(coefficients[1:], start=1):
            torch.mul(self._neighbours(current), self.weights, out=products)
            torch.sum(products, (2, 3), out=sums)
            factor = 1 if k == 1 else 2 * (-1) ** (k + 1)
            previous[..., inner].addcmul_(sums, self.inverse, value=factor)
            previous, current = current, previous
            if coefficient:
                total.add_(current[..., inner], alpha=coefficient * (-1) ** (k // 2))
        return total

    def _neighbours(self, padded: Tensor) -> Tensor:
        """(B, K, side, side, cells) view: the states of the square around each cell.

        It runs over the ends of rows, where no cell has a neighbour and the weight is 0.
        """
        batch, maps, length = padded.shape
        shape = (batch, maps, self.side, self.side, length - 2 * self.margin)
        return padded.as_strided(shape, (maps * length, length, self.width, 1, 1))


def images_at_once(graphs: Sequence[AffinityGraph], maps: int) -> int:
    """How many of the images, with that many maps each, keep the products of a step within 64 MB."""
    cells = max(g.size[0] for g in graphs) * max(g.size[1] for g in graphs)
    side = 2 * graphs[0].radius - 1
    return max(1, _BUFFER_BYTES // (max(1, maps) * side**2 * cells * graphs[0].distances.element_size()))


@lru_cache(maxsize=64)
def _pair_mask(height: int, width: int, radius: int, border: Border, device: torch.device) -> Tensor:
    return pair_mask(height, width, radius, border).to(device)
