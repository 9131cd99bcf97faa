"""Crops with tags, and a map of which pixels of each crop belong to the image and which are padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tag2mask.core import UserError
from tag2mask.data import SegmentationData
from tag2mask.data.image_set import ImageSet
from tag2mask.data.samples import TrainCrops
from tag2mask.data.transforms import Augment, Pad


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
        crop: side of the crop in pixels.
        scale: range of the factor by which an image is resized, drawn for each image; or null.
        long_side: or the range of its long side; only one of the two.
        flip: probability of a horizontal flip.
        jitter: brightness, contrast and saturation change by factors in 1 -+ jitter.
        hue: largest turn of the hue (0..0.5).
        pad: colour of padding, "mean" or "black".
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
        crop: int = 321,
        scale: tuple[float, float] | None = (0.7, 1.3),
        long_side: tuple[int, int] | None = None,
        flip: float = 0.5,
        jitter: float = 0.0,
        hue: float = 0.0,
        pad: Pad = "mean",
        train_split: str = "train",
        val_split: str = "val",
        predict_split: str = "val",
        predict_batch: int = 1,
        num_workers: int = 2,
    ) -> None:
        rest: dict[str, Any] = {"train_split": train_split, "val_split": val_split}
        rest |= {"predict_split": predict_split, "predict_batch": predict_batch, "num_workers": num_workers}
        super().__init__(dataset, batch_size=batch_size, crop=crop, scale=None, **rest)
        if scale is not None and long_side is not None:
            raise UserError("data.init_args.scale and long_side exclude each other: set one of them to null")
        self.augment = Augment(
            crop, long_side=long_side, scale=scale, flip=flip, jitter=jitter, hue=hue, pad=pad
        )

    def train_crops(self) -> TrainCrops:
        """The train split with tags."""
        self.dataset.check(self.train_split_name)
        ids = self.dataset.ids(self.train_split_name)
        return TrainCrops(self.dataset, ids, self.augment, with_tags=True, labels=_Inside(self.dataset))
