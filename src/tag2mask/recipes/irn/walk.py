"""The random walk that class boundaries stop."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from tag2mask.core import NotFiniteError, ScoreMaps, UserError
from tag2mask.modules import ImageView, PairNetwork, RandomWalk
from tag2mask.modules.refinements import resized
from tag2mask.ops import AffinityGraph, path_maxima
from tag2mask.recipes.irn.network import BoundaryNet


def boundary_graph(boundaries: Tensor, radius: int = 5) -> AffinityGraph:
    """Affinities 1 - max of the boundaries on the path between cells (Ahn et al., CVPR 2019, equation 7).

    Args:
        boundaries: (h, w) in 0..1.
        radius: cells nearer to each other than this form a pair.

    Returns:
        the graph, without gradient; an affinity of 0 is the smallest number above it.

    Raises:
        ValueError: boundaries of another shape, or with NaN or infinity.
    """
    if boundaries.ndim != 2:
        raise ValueError(f"boundaries must be (h, w), got {tuple(boundaries.shape)}")
    if not bool(boundaries.isfinite().all()):
        raise NotFiniteError("boundaries holds NaN or infinity")
    with torch.no_grad():
        affinities = 1 - path_maxima(boundaries[None], radius)[0]
    smallest = torch.finfo(affinities.dtype).tiny
    return AffinityGraph(affinities.clamp(smallest, 1).log_().neg_(), radius, "all")


class BoundaryWalk(RandomWalk):
    """Spread class maps up to the boundaries (Ahn, Cho and Kwak, CVPR 2019, section 5).

    Maps begin at 0 on boundaries. Afterwards they are divided by the highest score of the image, over all
    its classes. A `Background` link comes behind it.

    Args:
        beta: power of the affinities.
        steps: length of the walk t.
        radius: cells of the stride-4 grid that count as neighbours.
        tol: see `RandomWalk`.
        enabled: see `Refinement`.
    """

    reads: ClassVar[type[PairNetwork] | None] = BoundaryNet

    def __init__(
        self,
        beta: float = 10.0,
        steps: int = 256,
        radius: int = 5,
        tol: float = 1e-5,
        enabled: bool = True,
    ) -> None:
        super().__init__(beta, steps, radius, "all", tol, enabled)

    def begin(self, scores: ScoreMaps, image: ImageView) -> tuple[AffinityGraph, Tensor]:
        """The graph of an image, and its maps off the boundaries."""
        if 0 in scores.classes:
            raise UserError("BoundaryWalk spreads the maps of classes: put the Background link behind it")
        boundaries = image.cues
        maps = torch.from_numpy(resized(scores, (boundaries.shape[0], boundaries.shape[1])).maps)
        return boundary_graph(boundaries, self.radius), maps.to(boundaries) * (1 - boundaries)

    def end(self, scores: ScoreMaps, maps: Tensor) -> ScoreMaps:
        """The walked maps, the highest score of the image at 1."""
        highest = maps.max() if maps.numel() else maps.new_ones(())
        return super().end(scores, maps / highest.clamp(min=torch.finfo(maps.dtype).tiny))
