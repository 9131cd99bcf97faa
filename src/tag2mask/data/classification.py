"""Images and tags for the classifier, and for the class activation maps made with it."""

from __future__ import annotations

from typing import Any

from tag2mask.data.crops import CropData
from tag2mask.data.image_set import ImageSet
from tag2mask.data.samples import TrainCrops, WholeImages
from tag2mask.data.transforms import AugmentSpec


class ClassificationData(CropData):
    """Crops with tags to train on; whole images with tags (and masks, where there are any) to validate on.

    The defaults are those of PSA (Ahn and Kwak, CVPR 2018).

    Args:
        dataset: the images.
        batch_size: crops of a step on all devices together.
        augment: random changes of the crops.
        predict_split: split to predict.
        eval_long_side: validation images are resized to this long side; null keeps their size. Predicted
            images always keep it.
        **splits: see `CropData`.
    """

    def __init__(
        self,
        dataset: ImageSet,
        batch_size: int = 16,
        augment: AugmentSpec = AugmentSpec(crop=448, long_side=(256, 512)),
        predict_split: str = "train",
        eval_long_side: int | None = None,
        **splits: Any,
    ) -> None:
        super().__init__(dataset, batch_size, augment, predict_split=predict_split, **splits)
        self.eval_long_side = eval_long_side

    def train_crops(self) -> TrainCrops:
        """The train split with tags."""
        self.dataset.check(self.train_split_name)
        return TrainCrops(self.dataset, self.dataset.ids(self.train_split_name), self.augment, with_tags=True)

    def check_predict(self) -> None:
        """Check images and tags of the predict split."""
        self.dataset.check(self.predict_split_name)

    def predict_images(self) -> WholeImages:
        """Whole images with tags."""
        images = super().predict_images()
        images.with_tags = True
        return images
