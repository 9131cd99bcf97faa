"""A pseudo-label chain at work: its links one after the other, and the labels that its maps give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from tag2mask.core import ScoreMaps, UserError
from tag2mask.modules.refinements import ImageView, Labels, Refinement, resized, winners


def look_ahead(chain: Iterable[Refinement], maps: Callable[[], Sequence[ScoreMaps]]) -> None:
    """Show the data set's maps to the links that want to see them first; they are read only for these."""
    waiting = [link for link in chain if link.enabled and link.looks_ahead]
    if waiting:
        examples = maps()
        for link in waiting:
            link.look_ahead(examples)


def refine(scores: ScoreMaps, image: ImageView, chain: Iterable[Refinement]) -> ScoreMaps:
    """The maps of an image after every link of a chain that is not left out."""
    for link in chain:
        if link.enabled:
            scores = link(scores, image)
    return scores


def refine_batch(
    scores: Sequence[ScoreMaps],
    images: Sequence[ImageView],
    chain: Iterable[Refinement],
    threads: int | None = None,
) -> list[ScoreMaps]:
    """`refine` for some images, link by link, so that a GPU walks all of them at once."""
    state = list(scores)
    for link in chain:
        if link.enabled:
            state = link.of_batch(state, images, threads)
    return state


def label_map(scores: ScoreMaps) -> Labels:
    """The class with the highest score at each pixel of the image.

    Args:
        scores: maps of an image, with a background map.

    Returns:
        uint8 (H, W), index 0..K.

    Raises:
        UserError: there is no background map.
    """
    if 0 not in scores.classes:
        raise UserError("labels need a background map: put a Background link first in the chain")
    full = resized(scores, scores.image_size)
    labels: Labels = np.asarray(full.classes, np.uint8)[winners(full.maps)]
    return labels
