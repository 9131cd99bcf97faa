"""Crops of a split to train on, and whole images to validate on and to predict."""

from __future__ import annotations

from torch.utils.data import DataLoader

from tag2mask.core import ImageSample
from tag2mask.data.base import ImageData
from tag2mask.data.image_set import ImageSet
from tag2mask.data.samples import WholeImages
from tag2mask.data.transforms import Augment, AugmentSpec


class CropData(ImageData):
    """Base of data modules that train on random crops; a subclass makes them in `train_crops`.

    Args:
        dataset: the images.
        batch_size: crops of a step on all devices together.
        augment: random changes of the crops.
        train_split: split to train on.
        val_split: split to validate on.
        predict_split: split to predict.
        predict_batch: whole images per batch.
        num_workers: loader processes.
    """

    eval_long_side: int | None = None
    """Long side to which validation images are resized; None keeps their size."""

    def __init__(
        self,
        dataset: ImageSet,
        batch_size: int = 10,
        augment: AugmentSpec = AugmentSpec(crop=321, scale=(0.5, 1.5)),
        train_split: str = "train",
        val_split: str = "val",
        predict_split: str = "val",
        predict_batch: int = 1,
        num_workers: int = 2,
    ) -> None:
        super().__init__(dataset, batch_size, predict_split, predict_batch, num_workers)
        self.augment = Augment(augment)
        self.train_split_name = train_split
        self.val_split_name = val_split

    def check_val(self) -> None:
        """Check images and tags of the validation split."""
        self.dataset.check(self.val_split_name)

    def val_dataloader(self) -> DataLoader[ImageSample]:
        """Whole validation images with tags, and with masks where there are any."""
        ids, side = self.dataset.ids(self.val_split_name), self.eval_long_side
        images = WholeImages(self.dataset, ids, with_tags=True, with_masks=True, long_side=side)
        return self.whole_loader(images)
