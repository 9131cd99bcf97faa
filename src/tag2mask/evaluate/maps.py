"""Scores folders of score maps: class activation maps by threshold, maps with background by argmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tag2mask.artifacts import find_kind, load_maps
from tag2mask.core import ClassList, UserError
from tag2mask.data import ImageSet
from tag2mask.evaluate.loop import load_ahead
from tag2mask.evaluate.scores import Labels, Scores, add_image, known, read_scores
from tag2mask.evaluate.truth import read_truth
from tag2mask.metrics import Confusion, ThresholdSweep
from tag2mask.ops.sizes import maps_at_size

THRESHOLDS = tuple(round(step / 100, 2) for step in range(1, 100))
"""The thresholds of a sweep."""


@dataclass(frozen=True)
class MapScores:
    """Scores of score maps.

    Attributes:
        scores: at the fixed threshold; of the argmax for maps with a background channel.
        threshold: the fixed threshold; None for maps with a background channel.
        best_threshold: the best of the sweep, chosen with the true masks (an upper bound).
        best_miou: the mean IoU there.
        curve: threshold -> mean IoU, over the whole sweep; empty for maps with a background channel.
    """

    scores: Scores
    threshold: float | None = None
    best_threshold: float | None = None
    best_miou: float | None = None
    curve: dict[float, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return {
            **self.scores.to_dict(),
            "threshold": self.threshold,
            "best_threshold": self.best_threshold,
            "best_miou": self.best_miou,
            "curve": {"threshold": list(self.curve), "miou": list(self.curve.values())},
        }


@dataclass(frozen=True)
class _Image:
    maps: Tensor  # (M, H, W) at image size
    classes: list[int]  # (M,) indices
    truth: Labels  # (H, W)


def score_maps(
    maps_dir: str | Path, dataset: ImageSet, ids: Sequence[str], threshold: float = 0.3, split: str = ""
) -> MapScores:
    """Score ``maps_dir/<id>.npz``, enlarged bilinearly to image size.

    Maps without a background channel (CAMs): a pixel has the class of its highest map where that
    exceeds the threshold, else background; a sweep over `THRESHOLDS` is scored beside the fixed one.
    Maps with one (class id 0, e.g. after the random walk): the class of the highest map.

    Args:
        maps_dir: folder of stored maps.
        dataset: has the true masks of all `ids`.
        ids: images to score.
        threshold: the fixed threshold, in map units.
        split: name of the set of images, kept in the result.

    Raises:
        UserError: maps or masks are missing, broken, of other classes or sizes, or only some of
            the maps have a background channel.
    """
    classes = dataset.classes
    sweep = ThresholdSweep(len(classes) + 1, sorted({*THRESHOLDS, threshold}))
    argmax, per_image = Confusion(len(classes) + 1), dict[str, float]()
    background: dict[bool, str] = {}
    for image_id, image in load_ahead(lambda i: _load(Path(maps_dir), dataset, i), ids, "scoring maps"):
        if image.classes:
            background.setdefault(0 in image.classes, image_id)
        if len(background) > 1:
            raise UserError(
                f"in {maps_dir}, the maps of {background[True]} have background and those of "
                f"{background[False]} have none: run the step that made them again"
            )
        # an image without any map is background in both kinds of folder
        if 0 in image.classes or not image.classes:
            add_image(argmax, _argmax(image), image.truth, per_image, image_id)
        if 0 not in image.classes:
            sweep.update(image.maps, image.classes, image.truth)
    if True in background:
        return MapScores(replace(read_scores(argmax, classes, len(ids), split), per_image=per_image))
    return _at_threshold(sweep, threshold, classes, len(ids), split)


def _load(maps_dir: Path, dataset: ImageSet, image_id: str) -> _Image:
    stored = load_maps(maps_dir, image_id, dataset.classes)
    path = find_kind("maps").files(maps_dir).path(image_id)
    truth = read_truth(dataset, image_id, {path: stored.image_size})
    maps = maps_at_size(torch.from_numpy(stored.maps), stored.image_size)
    return _Image(maps, list(stored.classes), truth)


def _argmax(image: _Image) -> Tensor:
    if not image.classes:
        return torch.zeros(image.truth.shape, dtype=torch.int64)
    # the same as argmax(0), which is far slower on the CPU
    return torch.tensor(image.classes)[image.maps.max(0).indices]


def _at_threshold(
    sweep: ThresholdSweep, threshold: float, classes: ClassList, images: int, split: str
) -> MapScores:
    fixed = Confusion(len(classes) + 1)
    fixed.counts[:, :-1] += sweep.confusion(threshold)
    best_threshold, best_miou = sweep.best()
    curve = (
        {} if known(best_miou) is None else dict(zip(sweep.thresholds, sweep.compute().tolist(), strict=True))
    )
    scores = read_scores(fixed, classes, images, split)
    best = known(best_miou)
    return MapScores(scores, threshold, best_threshold, best, {} if best is None else curve)
