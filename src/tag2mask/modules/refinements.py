"""The links of a pseudo-label chain: each turns the score maps of one image into better ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tag2mask.core import ScoreMaps, UserError, map_threads, unknown_name
from tag2mask.modules.affinity import AffinityNet, PairNetwork
from tag2mask.ops import (
    AffinityGraph,
    affinity_graph,
    dense_crf,
    random_walk,
    random_walks,
    unary_from_labels,
)
from tag2mask.ops.lattice import CRF_SETS
from tag2mask.ops.sizes import image_size, maps_at_size

Labels = npt.NDArray[np.uint8]


class ImageView:
    """An image and, when a link asks for it, what a network says of its neighbouring cells.

    Args:
        pixels: uint8 (3, H, W) RGB.
        cues: makes the `PairNetwork.cues` of the pixels: of an AffinityNet (C, ceil(H/8), ceil(W/8));
            None where no network is given.
    """

    def __init__(self, pixels: Tensor, cues: Callable[[Tensor], Tensor] | None = None) -> None:
        self.pixels = pixels
        self._cues = cues

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return image_size(self.pixels)

    @cached_property
    def cues(self) -> Tensor:
        """What a walk makes its affinities of; see `PairNetwork.cues`."""
        if self._cues is None:
            raise UserError("a random walk needs a network's affinities: give model.init_args.affinity_from")
        return self._cues(self.pixels)


class Refinement(ABC):
    """One link of the chain. A new one subclasses this and is named in YAML by its class path.

    Args:
        enabled: false leaves the link out of the chain.
    """

    reads: ClassVar[type[PairNetwork] | None] = None
    """The kind of network whose `cues` of an image the link asks for."""
    looks_ahead = False
    """Whether `look_ahead` is to be called before the first image."""

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled

    def look_ahead(self, maps: Sequence[ScoreMaps]) -> None:
        """See maps of the data set, as the chain gets them, before it refines any."""
        raise NotImplementedError(f"{type(self).__name__} looks ahead, so it must write look_ahead")

    @abstractmethod
    def __call__(self, scores: ScoreMaps, image: ImageView) -> ScoreMaps:
        """Better maps of the image from its maps so far."""

    def of_batch(
        self, scores: Sequence[ScoreMaps], images: Sequence[ImageView], threads: int | None
    ) -> list[ScoreMaps]:
        """Better maps of some images: one by one on threads, unless a link has a better way on a GPU."""
        return map_threads(lambda pair: self(*pair), list(zip(scores, images, strict=True)), threads)


class RandomWalk(Refinement):
    """Spread the maps along semantic affinities (Ahn and Kwak, CVPR 2018, equations 11 and 12).

    Args:
        beta: power of the affinities; larger is more careful.
        steps: length of the walk t.
        radius: cells on the stride-8 grid that count as neighbours.
        border: all uses every pair in the image, psa the published pair set.
        tol: largest error of the walk's Chebyshev expansion.
        enabled: see `Refinement`.
    """

    reads: ClassVar[type[PairNetwork] | None] = AffinityNet

    def __init__(
        self,
        beta: float = 8.0,
        steps: int = 256,
        radius: int = 5,
        border: Literal["all", "psa"] = "all",
        tol: float = 1e-5,
        enabled: bool = True,
    ) -> None:
        super().__init__(enabled)
        self.beta = beta
        self.steps = steps
        self.radius = radius
        self.border: Literal["all", "psa"] = border
        self.tol = tol

    def __call__(self, scores: ScoreMaps, image: ImageView) -> ScoreMaps:
        """The walked maps, on the grid of the affinity features (stride 8)."""
        graph, maps = self.begin(scores, image)
        return self.end(scores, random_walk(graph, maps, self.beta, self.steps, self.tol))

    def of_batch(
        self, scores: Sequence[ScoreMaps], images: Sequence[ImageView], threads: int | None
    ) -> list[ScoreMaps]:
        """The images walk together: on a GPU in as many launches as one."""
        pairs = list(zip(scores, images, strict=True))
        starts = map_threads(lambda pair: self.begin(*pair), pairs, threads)
        graphs, maps = [graph for graph, _ in starts], [some for _, some in starts]
        walks = random_walks(graphs, maps, self.beta, self.steps, self.tol)
        return [self.end(one, walk) for one, walk in zip(scores, walks, strict=True)]

    def begin(self, scores: ScoreMaps, image: ImageView) -> tuple[AffinityGraph, Tensor]:
        """The graph that an image is walked on, and the maps at its size, on its device."""
        graph = affinity_graph(image.cues, self.radius, self.border)
        here = torch.from_numpy(resized(scores, graph.size).maps)
        return graph, here.to(image.cues.device)

    def end(self, scores: ScoreMaps, maps: Tensor) -> ScoreMaps:
        """The walked maps of an image as scores in 0..1."""
        return replace(scores, maps=maps.float().cpu().clamp(0, 1).numpy())


class DenseCRF(Refinement):
    """Snap the maps to the image's edges with a fully connected CRF (Kraehenbuehl and Koltun, 2011).

    Args:
        params: a published parameter set: cam, labels, dsrg or deeplab.
        unary: scores feeds the maps in; labels feeds their argmax with `probability`, which suits
            flat maps such as those of a long walk.
        probability: of the winning class, where unary is labels.
        engine: lattice or pydensecrf.
        enabled: see `Refinement`.
    """

    def __init__(
        self,
        params: str = "cam",
        unary: Literal["scores", "labels"] = "scores",
        probability: float = 0.7,
        engine: Literal["lattice", "pydensecrf"] = "lattice",
        enabled: bool = True,
    ) -> None:
        super().__init__(enabled)
        if params not in CRF_SETS:
            raise unknown_name("CRF parameter set", params, CRF_SETS)
        if not 0 < probability < 1:
            raise UserError(f"a CRF's probability must lie between 0 and 1, got {probability}")
        self.params = CRF_SETS[params]
        self.unary = unary
        self.probability = probability
        self.engine: Literal["lattice", "pydensecrf"] = engine

    def __call__(self, scores: ScoreMaps, image: ImageView) -> ScoreMaps:
        """The smoothed maps, at the size of the image."""
        unary = resized(scores, image.size).maps
        if self.unary == "labels":
            unary = unary_from_labels(winners(unary), len(unary), self.probability)
        return replace(scores, maps=dense_crf(image.pixels, unary, self.params, self.engine))


def resized(scores: ScoreMaps, size: tuple[int, int]) -> ScoreMaps:
    """The maps at another size (h, w), bilinear; there may be none."""
    if scores.maps.shape[1:] == size:
        return scores
    return replace(scores, maps=maps_at_size(torch.from_numpy(scores.maps), size).numpy())


def winners(maps: npt.NDArray[np.floating]) -> Labels:
    """Number of the highest map at each pixel; torch finds it far faster than NumPy's argmax."""
    numbers: Labels = torch.from_numpy(maps).max(0).indices.numpy().astype(np.uint8)
    return numbers
