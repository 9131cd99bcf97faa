"""Crops with tags, and a map of which pixels of each crop belong to the image and which are padding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tag2mask.data import SegmentationData
from tag2mask.data.image_set import ImageSet
from tag2mask.data.samples import TrainCrops
from tag2mask.data.transforms import AugmentSpec


@dataclass
class _Inside:
    """An empty label map for each image: after the crop it is 255 in the padding and 0 in the image."""

    images: ImageSet

    def __call__(self, image_id: str) -> dict[str, npt.NDArray[np.uint8]]:
        return {"label": np.zeros(self.images.read_image(image_id).shape[:2], np.uint8)}


class JointData(SegmentationData):
    """Crops with tags to train on, whole images as in `SegmentationData`; no dense label is read.

    A batch's ``label`` is 0 inside the image and 255 in its padding.

    Args:
        dataset: the images.
        batch_size: crops per process and step.
        augment: random changes of the crops.
        train_split: split to train on.
        val_split: split to validate on.
        predict_split: split to predict.
        predict_batch: whole images per batch.
        num_workers: loader processes.
    """

    def __init__(
        self,
        dataset: ImageSet,
        batch_size: int = 4,
        augment: AugmentSpec = AugmentSpec(crop=321, scale=(0.7, 1.3), jitter=0.0, hue=0.0),
        train_split: str = "train",
        val_split: str = "val",
        predict_split: str = "val",
        predict_batch: int = 1,
        num_workers: int = 2,
    ) -> None:
        super().__init__(
            dataset,
            batch_size=batch_size,
            augment=augment,
            train_split=train_split,
            val_split=val_split,
            predict_split=predict_split,
            predict_batch=predict_batch,
            num_workers=num_workers,
        )

    def train_crops(self) -> TrainCrops:
        """The train split with tags."""
        self.dataset.check(self.train_split_name)
        ids = self.dataset.ids(self.train_split_name)
        return TrainCrops(self.dataset, ids, self.augment, with_tags=True, labels=_Inside(self.dataset))
