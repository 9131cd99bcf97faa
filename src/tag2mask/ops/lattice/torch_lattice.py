"""The permutohedral lattice of a batch in torch operations, for any device.

The vertices of all images lie in one sorted list of int64 keys, in which the image's number is the leading
part: `unique` makes the list, `searchsorted` finds neighbours, and `index_add_` spreads the values. The
arithmetic that places a point is that of the compiled lattice, so that both find the same vertices.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tag2mask.ops.lattice.filter import filter_gain
from tag2mask.ops.lattice.permutohedral import feature_scale, key_strides


@dataclass(frozen=True, eq=False)
class TorchLattice:
    """The lattice of P points with d features, with M vertices in use; vertex 0 stands for "none".

    Attributes:
        vertices: int64 (d + 1, P), the corners of each point's simplex, in 1..M.
        weights: float32 (d + 1, P), barycentric weights of the corners.
        neighbours: int64 (d + 1, 2, M + 1), the two neighbours of each vertex along each axis.
    """

    vertices: Tensor
    weights: Tensor
    neighbours: Tensor

    def filter(self, maps: Tensor) -> Tensor:
        """Sums of float32 maps (P, K) with the weights of the lattice, as by `lattice_filter`."""
        values = maps.new_zeros(self.neighbours.shape[2], maps.shape[1])
        for corner, weight in zip(self.vertices, self.weights, strict=True):
            values.index_add_(0, corner, weight[:, None] * maps)
        for before, after in self.neighbours:
            values = values + 0.5 * (values[before] + values[after])
        out = torch.zeros_like(maps)
        for corner, weight in zip(self.vertices, self.weights, strict=True):
            out.addcmul_(weight[:, None], values[corner])
        return out * filter_gain(len(self.vertices) - 1)


def torch_lattice(features: Tensor) -> TorchLattice:
    """Build the lattice of B images at once.

    Args:
        features: float32 (B, d, N), coordinates divided by the standard deviation wanted.

    Returns:
        the lattice of the P = B * N points, image after image; no vertex is shared between images.

    Raises:
        ValueError: the features span more lattice cells than 62 bits can count.
    """
    batch, dims, count = features.shape
    points = features.transpose(0, 1).reshape(dims, -1)
    strides, size = key_strides(points.amin(1).cpu().numpy(), points.amax(1).cpu().numpy())
    if batch * size >= 2**62:
        raise ValueError("features: they span too many lattice cells; use fewer images or larger deviations")
    steps = torch.from_numpy(strides.sum() - (dims + 1) * strides).to(points.device)
    keys, weights = _corners(_elevate(points), torch.from_numpy(strides).to(points.device), steps)
    images = torch.arange(batch, device=points.device).repeat_interleave(count)
    known, vertices = torch.unique(keys + images * size, return_inverse=True)
    return TorchLattice(vertices + 1, weights, _neighbours(known, steps))


def _elevate(points: Tensor) -> Tensor:
    """(d + 1, P): the points on the plane of the lattice, in coordinates that sum to 0."""
    total = torch.zeros_like(points[0])
    rows = []
    for j, factor in reversed(list(enumerate(feature_scale(len(points)).tolist(), start=1))):
        scaled = points[j - 1] * factor
        rows.append(total - j * scaled)
        total = total + scaled
    return torch.stack([total, *reversed(rows)])


def _corners(elevated: Tensor, strides: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Packed keys and barycentric weights (d + 1, P) of the corners of each point's simplex."""
    size = len(elevated)
    inverse = float(torch.tensor(1.0) / size)  # rounded to float32, as in the compiled set-up
    rounded = (elevated * inverse).round()
    corner = rounded * size
    # The largest rest has rank 0; of equal ones, that of the earlier coordinate.
    places = (elevated - corner).argsort(dim=0, descending=True, stable=True)
    rank = places.argsort(dim=0) + rounded.sum(0)
    move = size * ((rank < 0).to(corner) - (rank >= size).to(corner))
    corner = corner + move
    order = (rank + move).argsort(dim=0, descending=True)
    rest = ((elevated - corner) * inverse).gather(0, order)
    weights = torch.cat([rest[:1] + (1 - rest[-1:]), rest[1:] - rest[:-1]])
    first = (corner.long() * strides[:, None]).sum(0, keepdim=True)
    return torch.cat([first, first + steps[order[:-1]].cumsum(0)]), weights


def _neighbours(known: Tensor, steps: Tensor) -> Tensor:
    targets = known + torch.stack([-steps, steps], 1)[..., None]
    places = torch.searchsorted(known, targets).clamp_(max=len(known) - 1)
    found = torch.where(known[places] == targets, places + 1, 0)
    return torch.nn.functional.pad(found, (1, 0))
