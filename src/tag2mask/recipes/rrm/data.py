"""Crops with tags, and a map of which pixels of each crop belong to the image and which are padding."""

from __future__ import annotations

from tag2mask.data.crops import CropData
from tag2mask.data.samples import TrainCrops


class JointData(CropData):
    """Crops with tags to train on, whole images to validate on and to predict; no dense label is read.

    Its arguments are those of `CropData`.
    """

    def train_crops(self) -> TrainCrops:
        """The train split with tags."""
        self.dataset.check(self.train_split_name)
        ids = self.dataset.ids(self.train_split_name)
        return TrainCrops(self.dataset, ids, self.augment, with_tags=True, with_inside=True)
