"""Images with unary maps and mined labels, for the pairwise network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import IGNORE, ImageSample, UserError
from tag2mask.data.base import ImageData
from tag2mask.data.image_set import ImageSet
from tag2mask.data.samples import TrainCrops, WholeImages, to_chw
from tag2mask.recipes.ial.files import RoundFiles, RoundImages
from tag2mask.recipes.ial.patches import NO_REGION, PatchSampler, nearest, smooth


class PairwiseSample(ImageSample, total=False):
    """A whole image with unary maps (`maps`) and the labels to learn from."""

    label: Tensor  # int64 (H, W), 0..K or 255


class PatchBatch(TypedDict):
    """P patches of each of B images, S x S pixels."""

    id: list[str]
    image: Tensor  # float32 (B, P, 3, S, S), RGB 0..255
    maps: Tensor  # float32 (B, P, K + 1, S, S), unary probabilities
    label: Tensor  # int64 (B, P, S, S), 0..K or 255
    superpixels: Tensor  # int64 (B, P, S, S), -1 outside the image


class _PatchCrops(RoundImages):
    """A few patches of each training image, with unary maps, superpixels and labels."""

    def __init__(self, files: RoundFiles, image_ids: Sequence[str], patches: PatchSampler) -> None:
        super().__init__(files, image_ids)
        self._patches = patches

    def sample(self, image_id: str, image: Tensor, superpixels: Tensor, labels: Tensor) -> dict[str, Any]:
        maps = torch.from_numpy(self.files.maps(image_id).dense(len(self.images.classes) + 1))
        grids = [self._patches.grid(labels) for _ in range(self._patches.count)]
        return {
            "image": torch.stack([smooth(image, grid) for grid in grids]),
            "maps": torch.stack([smooth(maps, grid) for grid in grids]),
            "label": torch.stack([nearest(labels, grid, IGNORE) for grid in grids]),
            "superpixels": torch.stack([nearest(superpixels, grid, NO_REGION) for grid in grids]),
        }


class _EnergyImages(Dataset[PairwiseSample]):
    """Whole training images with unary maps and labels, for the energy."""

    def __init__(self, files: RoundFiles, image_ids: Sequence[str]) -> None:
        self._files = files
        self._ids = list(image_ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> PairwiseSample:
        image_id = self._ids[index]
        image = to_chw(self._files.images.read_image(image_id))
        labels = self._files.labels(image_id, image.shape[-2:])
        return {"id": image_id, "image": image, "maps": self._files.maps(image_id), "label": labels}


class PairwiseData(ImageData):
    """Patches to learn affinities from, and whole images to refine (Wang et al. 2020, section 3.2.2).

    Args:
        dataset: the images.
        maps_dir: folder of the step with the unary maps.
        superpixels_dir: folder of the step with the superpixels.
        labels_dir: folder of the step with the mined regions; null learns from the argmax of the
            unary maps (no mining).
        batch_size: images of a step on all devices together.
        patches: what patches of each image are like.
        energy_images: training images on which the energy is measured, chosen at random but always the
            same; 500 in the paper.
        predict_split: split to refine.
        predict_batch: images per batch.
        num_workers: loader processes.
    """

    def __init__(
        self,
        dataset: ImageSet,
        maps_dir: StepFolder,
        superpixels_dir: StepFolder,
        labels_dir: StepFolder | None = None,
        batch_size: int = 4,
        patches: PatchSampler = PatchSampler(),
        energy_images: int = 500,
        predict_split: str = "train",
        predict_batch: int = 1,
        num_workers: int = 2,
    ) -> None:
        if energy_images < 0:
            raise UserError(f"data.energy_images must be at least 0, got {energy_images}")
        super().__init__(dataset, batch_size, predict_split, predict_batch, num_workers)
        self.files = RoundFiles(dataset, maps_dir, superpixels_dir, labels_dir)
        self.patches = patches
        self.energy_images = energy_images

    def train_crops(self) -> TrainCrops:
        """The images of the unary maps."""
        return _PatchCrops(self.files, self.files.train_ids(), self.patches)

    def check_predict(self) -> None:
        """Check the images and their unary maps."""
        self.dataset.check(self.predict_split_name, need_tags=False)
        self.files.check(("maps",))

    def val_dataloader(self) -> DataLoader[PairwiseSample]:
        """The images on which the energy is measured."""
        ids = self.files.check()
        order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))
        chosen = [ids[i] for i in sorted(order[: self.energy_images].tolist())]
        return self.whole_loader(_EnergyImages(self.files, chosen))

    def predict_images(self) -> WholeImages:
        """Whole images with their unary maps."""
        images = super().predict_images()
        images.maps_dir = self.files.maps_dir.out
        return images
