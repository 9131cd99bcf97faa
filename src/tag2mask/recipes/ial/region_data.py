"""Images with superpixels and unary labels, for the region network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import ImageSample
from tag2mask.data.base import ImageData
from tag2mask.data.image_set import ImageSet
from tag2mask.data.samples import TrainCrops, WholeImages, as_list
from tag2mask.recipes.ial.files import RoundFiles, RoundImages


class RegionSample(ImageSample, total=False):
    """A whole image with its superpixels, and in training the labels of the unary result."""

    superpixels: Tensor  # int32 (H, W), 0..R-1
    label: Tensor  # int64 (H, W), 0..K


class _RegionImages(RoundImages):
    """Whole training images, mirrored at random, with superpixels and unary labels."""

    def __init__(self, files: RoundFiles, image_ids: Sequence[str], flip: float) -> None:
        super().__init__(files, image_ids)
        self._flip = flip

    def sample(self, image_id: str, image: Tensor, superpixels: Tensor, labels: Tensor) -> dict[str, Any]:
        sample = {"image": image, "superpixels": superpixels, "label": labels}
        if float(torch.rand(())) < self._flip:
            sample = {name: value.flip(-1) for name, value in sample.items()}
        return sample


class _RegionWhole(WholeImages):
    """Whole images with tags and superpixels."""

    files: RoundFiles

    def __getitem__(self, index: int) -> ImageSample:
        sample: RegionSample = {**super().__getitem__(index)}  # type: ignore[typeddict-item]
        if not sample["done"]:
            sample["superpixels"] = self.files.superpixels(sample["id"], sample["image"].shape[-2:])
        return sample


class RegionData(ImageData):
    """Whole images with superpixels, for the region network (Wang et al. 2020, section 3.3).

    Args:
        dataset: the images.
        maps_dir: folder of the step with the unary maps, whose argmax labels the superpixels.
        superpixels_dir: folder of the step with the superpixels.
        batch_size: images of a step on all devices together; all superpixels of each are used.
        flip: probability of mirroring.
        predict_split: split whose regions are mined.
        predict_batch: images per batch.
        num_workers: loader processes.
    """

    collate = staticmethod(as_list)  # images differ in size

    def __init__(
        self,
        dataset: ImageSet,
        maps_dir: StepFolder,
        superpixels_dir: StepFolder,
        batch_size: int = 2,
        flip: float = 0.5,
        predict_split: str = "train",
        predict_batch: int = 1,
        num_workers: int = 2,
    ) -> None:
        super().__init__(dataset, batch_size, predict_split, predict_batch, num_workers)
        self.files = RoundFiles(dataset, maps_dir, superpixels_dir)
        self.flip = flip

    def train_crops(self) -> TrainCrops:
        """The images of the unary maps."""
        return _RegionImages(self.files, self.files.train_ids(), self.flip)

    def check_predict(self) -> None:
        """Check images, tags and superpixels."""
        self.dataset.check(self.predict_split_name)
        self.files.check(("superpixels",))

    def predict_images(self) -> WholeImages:
        """Whole images with tags and superpixels."""
        ids = self.dataset.ids(self.predict_split_name)
        images = _RegionWhole(self.dataset, ids, with_tags=True, done=self.done)
        images.files = self.files
        return images
