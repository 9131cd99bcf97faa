"""The scores of a set of label maps, and the tally that leads to them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tag2mask.core import IGNORE, ClassList, Unknown
from tag2mask.metrics import Confusion

Labels = npt.NDArray[np.uint8]
Pixels = Labels | Tensor


@dataclass(frozen=True)
class Scores:
    """Scores over a whole set of images; all are shares in [0, 1], None where nothing defines them.

    Attributes:
        miou: mean of `per_class`, over the classes that have a true pixel.
        per_class: class name (background first) -> intersection over union.
        precision: mean over the predicted classes of the share of right pixels, unknown ones left out.
        coverage: share of the scored pixels that the prediction gives a class (not 255).
        unknown: what an unknown prediction (255) counted as: ``"ignore"``, ``"wrong"`` or ``"background"``.
        split: name of the set of images.
        images: images scored.
        missing: images left out because they had no prediction.
        confusion: pixel counts, a row for each true class (background first); columns are the predicted
            classes, then predictions of no class of the list, then unknown ones.
        per_image: image -> its own mean IoU, over the classes that it has a true pixel of.
        recall: mean over the true classes of the share of their pixels that is found; unknown ones are not.
        f_score: harmonic mean of `precision` and `recall`.
        strict_miou: mean IoU with unknown predictions (255) as wrong ones.
    """

    miou: float | None
    per_class: dict[str, float | None]
    precision: float | None
    coverage: float | None
    unknown: str
    split: str
    images: int
    missing: int = 0
    confusion: list[list[int]] = field(default_factory=list)
    per_image: dict[str, float] = field(default_factory=dict)
    recall: float | None = None
    f_score: float | None = None
    strict_miou: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON, without the images."""
        return {name: value for name, value in asdict(self).items() if name != "per_image"}


class LabelTally:
    """Counts pixels by true and predicted label over all images, and gives the scores at the end.

    A predicted mask id that is none of `classes` is wrong wherever the truth has a class: it is
    counted as one more class, which has no true pixel and therefore no place in the mean.

    Args:
        classes: foreground classes that are scored, beside background.
        unknown: what a prediction of 255 counts as (see `tag2mask.metrics.Confusion`).
    """

    def __init__(self, classes: ClassList, unknown: Unknown = "ignore") -> None:
        self.classes = classes
        self.confusion = Confusion(len(classes) + 2, unknown=unknown)
        self.per_image: dict[str, float] = {}
        self.images = 0
        self._index = classes.to_index(np.arange(256, dtype=np.uint8))
        listed = [*classes.all_ids, IGNORE]
        self._index[~np.isin(np.arange(256), listed)] = len(classes) + 1

    def add(self, predicted_ids: Labels, truth: Labels, image_id: str = "") -> None:
        """Count one image.

        Args:
            predicted_ids: uint8 (H, W) of mask ids; 255 is unknown.
            truth: uint8 (H, W) of indices 0..K; 255 is not scored.
            image_id: the image, whose own score is kept under this name.

        Raises:
            ValueError: the shapes differ, or `truth` holds no index of a class.
        """
        add_image(self.confusion, self._index[predicted_ids], truth, self.per_image, image_id)
        self.images += 1

    def scores(self, split: str = "", missing: int = 0) -> Scores:
        """The scores of all images counted so far."""
        scores = read_scores(self.confusion, self.classes, self.images, split, missing)
        return replace(scores, per_image=self.per_image)


def add_image(
    total: Confusion, predicted: Pixels, truth: Labels, per_image: dict[str, float], image_id: str
) -> None:
    """Count an image in `total`, and note its own mean IoU (none without a true pixel)."""
    own = Confusion(total.num_classes, total.ignore_index, total.unknown)
    own.update(predicted, truth)
    total.counts += own.counts
    if not math.isnan(own.miou):
        per_image[image_id] = round(own.miou, 4)


def read_scores(
    confusion: Confusion, classes: ClassList, images: int, split: str = "", missing: int = 0
) -> Scores:
    """`Scores` from a confusion whose first K+1 classes are background and `classes`."""
    per_class = confusion.per_class_iou.tolist()
    matrix = confusion.matrix[: len(classes) + 1]
    if matrix.shape[1] == len(classes) + 2:  # counted without a column for ids of no class
        matrix = torch.cat([matrix[:, :-1], torch.zeros_like(matrix[:, :1]), matrix[:, -1:]], 1)
    return Scores(
        miou=known(confusion.miou),
        per_class={name: known(iou) for name, iou in zip(classes.all_names, per_class, strict=False)},
        precision=known(confusion.precision),
        coverage=known(confusion.coverage),
        unknown=confusion.unknown,
        split=split,
        images=images,
        missing=missing,
        confusion=matrix.tolist(),
        recall=known(confusion.recall),
        f_score=known(confusion.f_score),
        strict_miou=known(confusion.strict_miou),
    )


def known(value: float) -> float | None:
    """A number for JSON: None instead of NaN."""
    return None if math.isnan(value) else float(value)
