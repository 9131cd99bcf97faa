"""Torch datasets over an image set: random crops for training, whole images for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tag2mask.artifacts.files import safe_join
from tag2mask.artifacts.kinds import ResultFiles
from tag2mask.artifacts.labels import load_labels
from tag2mask.artifacts.maps import load_maps
from tag2mask.core import IGNORE, ClassList, ImageSample, UserError
from tag2mask.data.image_set import ImageSet
from tag2mask.data.transforms import Augment, resize_long_side

LabelReader = Callable[[str], dict[str, npt.NDArray[np.uint8]]]
"""Image id -> the label maps (H, W) to train on, as indices 0..K or 255."""


class TrainCrops(Dataset[dict[str, Any]]):
    """One random crop per image, with its tags and label maps; collates to a `TrainBatch`.

    Args:
        images: the data set.
        image_ids: the images to train on.
        augment: the random changes.
        with_tags: also give the tags.
        labels: reads the label maps, or None.
        with_inside: also tell which pixels of a crop lie in the image.
    """

    def __init__(
        self,
        images: ImageSet,
        image_ids: Sequence[str],
        augment: Augment,
        with_tags: bool = False,
        labels: LabelReader | None = None,
        with_inside: bool = False,
    ) -> None:
        self.images = images
        self.image_ids = list(image_ids)
        self._augment = augment
        self._with_tags = with_tags
        self._labels = labels
        self._with_inside = with_inside

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image_id = self.image_ids[index]
        image = self.images.read_image(image_id)
        labels = self._labels(image_id) if self._labels else {}
        for name, value in labels.items():
            if value.shape != image.shape[:2]:
                raise UserError(
                    f"{name} of image {image_id} is {value.shape[1]}x{value.shape[0]}, the image "
                    f"{image.shape[1]}x{image.shape[0]}: these are labels of other images; make them again"
                )
        if self._with_inside:
            labels = {**labels, "inside": np.zeros(image.shape[:2], np.uint8)}
        image, labels = self._augment(image, labels)
        sample: dict[str, Any] = {"id": image_id, "image": to_chw(image)}
        if self._with_tags:
            sample["tags"] = torch.from_numpy(self.images.tags(image_id))
        for name, value in labels.items():
            sample[name] = _as_tensor(name, value)
        return sample


def _as_tensor(name: str, crop: npt.NDArray[np.uint8]) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(crop))
    if name == "inside":
        return tensor != IGNORE
    return tensor.long() if name == "label" else tensor


@dataclass
class WholeImages(Dataset[ImageSample]):
    """Whole images for validation and prediction.

    Attributes:
        images: the data set.
        image_ids: which images.
        with_tags: give the tags.
        with_masks: give the true mask where there is one (validation only).
        long_side: resize image and mask to this long side, or None for the size they have.
        maps_dir: folder of ``<id>.npz`` maps to give along, or None.
        done: an image whose result is among these files is only marked as done; None for none.
    """

    images: ImageSet
    image_ids: Sequence[str]
    with_tags: bool = False
    with_masks: bool = False
    long_side: int | None = None
    maps_dir: Path | None = None
    done: ResultFiles | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> ImageSample:
        image_id = self.image_ids[index]
        if self.done is not None and self.done.has(image_id):
            return {"id": image_id, "done": True}
        sample = self._picture(image_id)
        if self.with_tags:
            sample["tags"] = torch.from_numpy(self.images.tags(image_id))
        if self.maps_dir is not None:
            sample["maps"] = load_maps(self.maps_dir, image_id, self.images.classes)
        return sample

    def _picture(self, image_id: str) -> ImageSample:
        image = self.images.read_image(image_id)
        mask = self.images.read_mask(image_id) if self.with_masks else None
        labels = {} if mask is None else {"label": mask}
        if self.long_side is not None:
            image, labels = resize_long_side(image, labels, self.long_side)
        sample: ImageSample = {"id": image_id, "image": to_chw(image), "done": False}
        if labels:
            sample["mask"] = torch.from_numpy(labels["label"])
        return sample


@dataclass
class StepLabels:
    """Label maps that an earlier step wrote: name in the batch -> folder of ``<id>.png``."""

    classes: ClassList
    folders: dict[str, Path]

    def path(self, name: str, image_id: str) -> Path:
        """The file of one label map."""
        return safe_join(self.folders[name], f"{image_id}.png")

    def __call__(self, image_id: str) -> dict[str, npt.NDArray[np.uint8]]:
        """The maps (H, W) of one image as indices."""
        return {n: self.classes.to_index(load_labels(self.path(n, image_id))) for n in self.folders}

    def check(self, image_ids: Sequence[str]) -> None:
        """Raise a `UserError` for the first image whose file is missing."""
        for name in self.folders:
            for image_id in image_ids:
                if not self.path(name, image_id).is_file():
                    raise UserError(
                        f"{self.path(name, image_id)} does not exist: run the step that makes it again"
                    )


@dataclass
class TrueMasks:
    """The data set's own masks as labels: for the upper bound only."""

    images: ImageSet

    def __call__(self, image_id: str) -> dict[str, npt.NDArray[np.uint8]]:
        """The mask (H, W) of one image as indices."""
        mask = self.images.read_mask(image_id)
        if mask is None:
            raise UserError(f"image {image_id} has no mask to train on")
        return {"label": mask}


def to_chw(image: npt.NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) array to a contiguous (3, H, W) tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def as_list(samples: list[ImageSample]) -> list[ImageSample]:
    """Collate whole images: they differ in size, so a batch stays a list."""
    return samples
