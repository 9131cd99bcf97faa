"""Images and pseudo-labels (or true masks, for the upper bound) for the segmentation model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import IGNORE, UserError
from tag2mask.data.crops import CropData
from tag2mask.data.image_set import ImageSet
from tag2mask.data.samples import LabelReader, StepLabels, TrainCrops, TrueMasks

Supervision = Literal["pseudo", "masks", "masks_where_known", "masks_where_unknown"]


class SegmentationData(CropData):
    """Crops with dense labels to train on; whole images to validate on (with tags) and to predict (without).

    Args:
        dataset: the images.
        labels_dir: folder of a step of kind labels (with ``out/<id>.png``); its images are trained on.
        supervision: pseudo trains on these labels, masks on the data set's true masks: the upper bound.
            The other two tell what pseudo-labels lose: masks_where_known takes the true class of every pixel
            that they label, so they have no mistake, and masks_where_unknown of every one that they leave
            out.
        **crops: see `CropData`; `train_split` is trained on with supervision "masks".
    """

    def __init__(
        self,
        dataset: ImageSet,
        labels_dir: StepFolder | None = None,
        supervision: Supervision = "pseudo",
        **crops: Any,
    ) -> None:
        super().__init__(dataset, **crops)
        self.labels_dir = None if labels_dir is None else StepFolder(labels_dir)
        self.supervision = supervision

    def train_crops(self) -> TrainCrops:
        """The images of the pseudo-labels, or the train split with its true masks."""
        ids, labels = self.labelled()
        self.dataset.check_ids(ids, need_tags=False)
        return TrainCrops(self.dataset, ids, self.augment, labels=labels, with_inside=True)

    def labelled(self) -> tuple[Sequence[str], LabelReader]:
        """The images to train on, and what reads their labels; checked. A subclass may train on fewer."""
        if self.supervision == "masks":
            split = self.dataset.ids(self.train_split_name)
            return split, self._true_masks(split)
        ids, labels = self._pseudo_labels()
        if self.supervision == "pseudo":
            return ids, labels
        known = self.supervision == "masks_where_known"
        return ids, _Mended(labels, self._true_masks(ids), known)

    def sources(self) -> list[Path]:
        """As in `ImageData`; with the masks where they are trained on."""
        return self.dataset.sources(masks=self.supervision != "pseudo")

    def _pseudo_labels(self) -> tuple[Sequence[str], LabelReader]:
        if self.labels_dir is None:
            raise UserError(
                "the segmentation model needs pseudo-labels: give --data.init_args.labels_dir RUN/STEP, "
                "or --data.init_args.supervision masks to train on the true masks"
            )
        step = self.labels_dir
        ids = self.require_results(step, "labels").image_ids
        labels = StepLabels(self.classes, {"label": step.out})
        labels.check(ids)
        return ids, labels

    def _true_masks(self, ids: Sequence[str]) -> LabelReader:
        for image_id in ids:
            if self.dataset.mask_path(image_id) is None:
                raise UserError(
                    f"supervision {self.supervision}: image {image_id} has no mask; train on pseudo-labels "
                    "or on images that all have masks"
                )
        return TrueMasks(self.dataset)


@dataclass
class _Mended:
    """Labels (H, W) with the true class of the pixels that they know, or else of all others."""

    labels: LabelReader
    masks: LabelReader
    known: bool

    def __call__(self, image_id: str) -> dict[str, npt.NDArray[np.uint8]]:
        label, mask = self.labels(image_id)["label"], self.masks(image_id)["label"]
        return {"label": np.where((label != IGNORE) == self.known, mask, label)}
