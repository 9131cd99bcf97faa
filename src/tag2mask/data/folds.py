"""Images in folds: each network trains on all but one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tag2mask.core import UserError
from tag2mask.core.folds import fold_of
from tag2mask.data.samples import LabelReader
from tag2mask.data.segmentation import SegmentationData


class OtherFolds(SegmentationData):
    """`SegmentationData` that trains on all images but those of one fold.

    Args:
        fold: the fold to leave out, 0..folds - 1.
        folds: how many there are, at least 2.
        **segmentation: arguments of `SegmentationData`.
    """

    def __init__(self, fold: int, folds: int, **segmentation: Any) -> None:
        super().__init__(**segmentation)
        if not 0 <= fold < folds or folds < 2:
            raise UserError(f"fold must lie in 0..folds - 1, and folds be at least 2, got {fold} of {folds}")
        self.fold = fold
        self.folds = folds

    def labelled(self) -> tuple[Sequence[str], LabelReader]:
        """The images of the other folds, and their labels."""
        ids, labels = super().labelled()
        others = [image_id for image_id in ids if fold_of(image_id, self.folds) != self.fold]
        if not others:
            raise UserError(
                f"all of the {len(ids)} training images fall into fold {self.fold}: too few to leave some "
                "out; use a recipe without teachers, such as psa"
            )
        return others, labels
