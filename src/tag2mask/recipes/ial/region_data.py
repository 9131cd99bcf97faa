"""Photos with superpixels and unary labels, for the region network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from tag2mask.core import PhotoSample
from tag2mask.data.base import PhotoData
from tag2mask.data.photo_set import PhotoSet
from tag2mask.data.samples import TrainCrops, WholePhotos, as_list, to_chw
from tag2mask.recipes.ial.files import RoundFiles


class RegionSample(PhotoSample, total=False):
    """A whole photo with its superpixels, and in training the labels of the unary result."""

    superpixels: Tensor  # int32 (H, W), 0..R-1
    label: Tensor  # int64 (H, W), 0..K


class _RegionPhotos(TrainCrops):
    """Whole training photos, mirrored at random, with superpixels and unary labels."""

    def __init__(self, files: RoundFiles, image_ids: Sequence[str], flip: float) -> None:
        self.photos = files.photos
        self.image_ids = list(image_ids)
        self._files = files
        self._flip = flip

    def __getitem__(self, index: int) -> dict[str, Any]:
        image_id = self.image_ids[index]
        photo = to_chw(self.photos.read_photo(image_id))
        size = photo.shape[-2:]
        sample = {
            "photo": photo,
            "superpixels": self._files.superpixels(image_id, size),
            "label": self._files.labels(image_id, size),
        }
        if float(torch.rand(())) < self._flip:
            sample = {name: value.flip(-1) for name, value in sample.items()}
        return {"id": image_id, **sample}


class _RegionWhole(WholePhotos):
    """Whole photos with tags and superpixels."""

    files: RoundFiles

    def __getitem__(self, index: int) -> PhotoSample:
        sample: RegionSample = {**super().__getitem__(index)}  # type: ignore[typeddict-item]
        if not sample["done"]:
            sample["superpixels"] = self.files.superpixels(sample["id"], sample["photo"].shape[-2:])
        return sample


class RegionData(PhotoData):
    """Whole photos with superpixels, for the region network (Wang et al. 2020, section 3.3).

    Args:
        dataset: the photos.
        maps_dir: folder of the step with the unary maps, whose argmax labels the superpixels.
        superpixels_dir: folder of the step with the superpixels.
        batch_size: photos per process and step; all superpixels of each are used.
        flip: probability of mirroring.
        predict_split: split whose regions are mined.
        predict_batch: photos per batch.
        num_workers: loader processes.
    """

    def __init__(
        self,
        dataset: PhotoSet,
        maps_dir: str,
        superpixels_dir: str,
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
        """The photos of the unary maps."""
        ids = self.files.check()
        self.dataset.check_ids(ids)
        return _RegionPhotos(self.files, ids, self.flip)

    def check_predict(self) -> None:
        """Checks photos, tags and superpixels."""
        self.dataset.check(self.predict_split_name)
        self.files.check(("superpixels",))

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """As in `PhotoData`, but a batch stays a list: photos differ in size."""
        if self._train is None:
            raise RuntimeError('call setup("fit") before train_dataloader')
        return DataLoader(
            self._train,
            batch_size=self.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            collate_fn=as_list,
        )

    def predict_photos(self) -> WholePhotos:
        """Whole photos with tags and superpixels."""
        ids = self.dataset.ids(self.predict_split_name)
        photos = _RegionWhole(self.dataset, ids, with_tags=True, out_dir=self.out_dir)
        photos.files = self.files
        return photos
