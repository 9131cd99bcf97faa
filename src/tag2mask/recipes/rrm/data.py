"""Crops with tags, and a map of which pixels of each crop belong to the image and which are padding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tag2mask.data.crops import CropData
from tag2mask.data.image_set import ImageSet
from tag2mask.data.samples import TrainCrops


@dataclass
class _Inside:
    """An empty label map for each image: after the crop it is 255 in the padding and 0 in the image."""

    images: ImageSet

    def __call__(self, image_id: str) -> dict[str, npt.NDArray[np.uint8]]:
        return {"label": np.zeros(self.images.read_image(image_id).shape[:2], np.uint8)}


class JointData(CropData):
    """Crops with tags to train on, whole images to validate on and to predict; no dense label is read.

    A batch's ``label`` is 0 inside the image and 255 in its padding.

    Its arguments are those of `CropData`.
    """

    def train_crops(self) -> TrainCrops:
        """The train split with tags."""
        self.dataset.check(self.train_split_name)
        ids = self.dataset.ids(self.train_split_name)
        return TrainCrops(self.dataset, ids, self.augment, with_tags=True, labels=_Inside(self.dataset))
