"""The random walk beside powers of a dense matrix, at strides 8 and 4 and for a large image."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Agreement, Case, Inputs
from benchmarks.reference.random_walk import dense_walk, stepwise_walk, transition
from tag2mask.ops import affinity_graph, random_walk

CHANNELS, MAPS, DOUBLINGS = 448, 3, 8
SHARE = 8
"""The large matrix multiplies one part in so many of its rows: a whole squaring takes a minute."""

Problem = tuple[Tensor, Tensor]


def cases(inputs: Inputs) -> list[Case]:
    small, middle, large = (partial(_problem, inputs, *size) for size in ((47, 63), (94, 125), (256, 256)))
    return [
        Case(
            name="random_walk",
            piece="random walk, 63x47 map (stride 8), affinities included",
            reference=f"dense matrix, squared {DOUBLINGS} times",
            run_reference=lambda: dense_walk(*small(), DOUBLINGS),
            run_ours=partial(_ours, small),
            agreement=_agreement,
            bar=80,
        ),
        Case(
            name="random_walk",
            piece="random walk, 125x94 map (stride 4), affinities included",
            reference=f"dense matrix, squared {DOUBLINGS} times (1/{SHARE} of one squaring measured)",
            run_reference=lambda: _part_of_square(_matrix(middle)),
            run_ours=partial(_ours, middle),
            agreement=lambda _, result: _agreement(stepwise_walk(*middle()), result),
            bar=1000,
            reference_times=SHARE * DOUBLINGS,
        ),
        Case(
            name="random_walk",
            piece="random walk, 256x256 map (1024x1024 image at stride 4), affinities included",
            reference="dense matrix (needs more than 24 GB)",
            run_reference=None,
            run_ours=partial(_ours, large),
            agreement=lambda _, result: _agreement(stepwise_walk(*large()), result, labels=False),
            bar=0,
        ),
    ]


@cache
def _problem(inputs: Inputs, height: int, width: int) -> Problem:
    """Features that follow an image's colours, as an affinity network's follow its objects; random maps."""
    rng = np.random.default_rng(0)
    image = torch.from_numpy(inputs.image(height, width).astype(np.float32) / 255)
    mixing = torch.from_numpy(rng.normal(size=(CHANNELS, 3)).astype(np.float32))
    features = torch.einsum("ck,hwk->chw", mixing, image).contiguous()
    return features, torch.from_numpy(rng.random((MAPS, height, width)).astype(np.float32))


@cache
def _matrix(problem: Callable[[], Problem]) -> Tensor:
    return transition(problem()[0])


def _part_of_square(matrix: Tensor) -> Tensor:
    return matrix[: len(matrix) // SHARE] @ matrix


def _ours(problem: Callable[[], Problem]) -> Tensor:
    features, maps = problem()
    return random_walk(affinity_graph(features), maps)


def _agreement(expected: Tensor, result: Tensor, labels: bool = True) -> Agreement:
    """Scores and, with `labels`, winning maps (on a large image random maps come out nearly equal)."""
    error = float((expected - result).abs().max())
    share = float((expected.argmax(0) == result.argmax(0)).double().mean())
    text = f"max error {error:.0e}, argmax equal on {100 * share:.3f} %"
    return Agreement(text, error <= 1e-4 and (share >= 0.9999 or not labels))
