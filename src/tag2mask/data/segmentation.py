"""Images and pseudo-labels (or true masks, for the upper bound) for the segmentation model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import UserError
from tag2mask.data.crops import CropData
from tag2mask.data.image_set import ImageSet
from tag2mask.data.samples import LabelReader, StepLabels, TrainCrops, TrueMasks


class SegmentationData(CropData):
    """Crops with dense labels to train on; whole images to validate on (with tags) and to predict (without).

    Args:
        dataset: the images.
        labels_dir: folder of a step of kind labels (with ``out/<id>.png``); its images are trained on.
        supervision: "pseudo" trains on these labels, "masks" on the data set's true masks.
        **crops: see `CropData`; `train_split` is trained on with supervision "masks".
    """

    def __init__(
        self,
        dataset: ImageSet,
        labels_dir: StepFolder | None = None,
        supervision: Literal["pseudo", "masks"] = "pseudo",
        **crops: Any,
    ) -> None:
        super().__init__(dataset, **crops)
        self.labels_dir = None if labels_dir is None else StepFolder(labels_dir)
        self.supervision = supervision

    def train_crops(self) -> TrainCrops:
        """The images of the pseudo-labels, or the train split with its true masks."""
        ids, labels = self.labelled()
        self.dataset.check_ids(ids, need_tags=False)
        return TrainCrops(self.dataset, ids, self.augment, labels=labels)

    def labelled(self) -> tuple[Sequence[str], LabelReader]:
        """The images to train on, and what reads their labels; checked. A subclass may train on fewer."""
        return self._true_masks() if self.supervision == "masks" else self._pseudo_labels()

    def sources(self) -> list[Path]:
        """As in `ImageData`; with the masks where they are trained on."""
        return self.dataset.sources(masks=self.supervision == "masks")

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

    def _true_masks(self) -> tuple[Sequence[str], LabelReader]:
        ids = self.dataset.ids(self.train_split_name)
        for image_id in ids:
            if self.dataset.mask_path(image_id) is None:
                raise UserError(
                    f"supervision masks: image {image_id} of split {self.train_split_name} has no mask; "
                    "train on pseudo-labels or on a split whose images all have masks"
                )
        return ids, TrueMasks(self.dataset)
