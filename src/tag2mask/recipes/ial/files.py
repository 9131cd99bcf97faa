"""What the steps of a round left on disk, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tag2mask.artifacts import load_labels, load_maps, load_regions, safe_join
from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import ScoreMaps, UserError
from tag2mask.data.base import require_images
from tag2mask.data.image_set import ImageSet
from tag2mask.data.samples import TrainCrops, to_chw
from tag2mask.ops.sizes import maps_at_size


class RoundFiles:
    """What the steps of a round left on disk for an image.

    Args:
        images: the data set.
        maps_dir: folder of the step with the unary maps.
        superpixels_dir: folder of the step with the superpixels.
        labels_dir: folder of the step with the mined labels; None takes the argmax of the maps.
    """

    def __init__(
        self,
        images: ImageSet,
        maps_dir: StepFolder,
        superpixels_dir: StepFolder,
        labels_dir: StepFolder | None = None,
    ) -> None:
        self.images = images
        self.maps_dir = StepFolder(maps_dir)
        self.superpixels_dir = StepFolder(superpixels_dir)
        self.labels_dir = None if labels_dir is None else StepFolder(labels_dir)

    def check(self, kinds: Sequence[str] = ("maps", "superpixels", "labels")) -> list[str]:
        """The images that the steps cover.

        Raises:
            UserError: a step is not complete, of another kind, or made from other images.
        """
        folders = {"maps": self.maps_dir, "superpixels": self.superpixels_dir, "labels": self.labels_dir}
        used = {kind: folder for kind, folder in folders.items() if folder is not None and kind in kinds}
        ids: list[str] = []
        for kind, folder in used.items():
            manifest = folder.require((kind,), self.images.classes)
            ids = ids or manifest.image_ids
            require_images(folder.path, manifest, self.images, ids)
        return ids

    def train_ids(self) -> list[str]:
        """The images that all steps cover, after a look at their files and tags; see `check`."""
        ids = self.check()
        self.images.check_ids(ids)
        return ids

    def maps(self, image_id: str) -> ScoreMaps:
        """Unary maps of an image."""
        return load_maps(self.maps_dir.out, image_id, self.images.classes)

    def superpixels(self, image_id: str, size: Sequence[int]) -> Tensor:
        """Superpixels (H, W) of an image of that size."""
        path = safe_join(self.superpixels_dir.out, f"{image_id}.png")
        return _of_size(torch.from_numpy(load_regions(path)), size, path)

    def labels(self, image_id: str, size: Sequence[int]) -> Tensor:
        """Labels (H, W) int64 of an image of that size, from the labels' step or from the maps."""
        if self.labels_dir is None:
            unary = self.maps(image_id)
            full = maps_at_size(torch.from_numpy(unary.maps), (int(size[0]), int(size[1])))
            return torch.tensor(unary.classes)[full.max(0).indices]
        path = safe_join(self.labels_dir.out, f"{image_id}.png")
        indices = self.images.classes.to_index(load_labels(path))
        return _of_size(torch.from_numpy(indices).long(), size, path)


class RoundImages(TrainCrops):
    """Training images with what the steps of a round left for them; a subclass makes the samples.

    Args:
        files: where the results lie.
        image_ids: the images.
    """

    def __init__(self, files: RoundFiles, image_ids: Sequence[str]) -> None:
        self.images = files.images
        self.image_ids = list(image_ids)
        self.files = files

    def __getitem__(self, index: int) -> dict[str, Any]:
        image_id = self.image_ids[index]
        image = to_chw(self.images.read_image(image_id))
        size = image.shape[-2:]
        superpixels, labels = self.files.superpixels(image_id, size), self.files.labels(image_id, size)
        return {"id": image_id, **self.sample(image_id, image, superpixels, labels)}

    def sample(self, image_id: str, image: Tensor, superpixels: Tensor, labels: Tensor) -> dict[str, Any]:
        """What is trained on, from an image uint8 (3, H, W), its superpixels and its labels (H, W)."""
        raise NotImplementedError


def _of_size(values: Tensor, size: Sequence[int], path: Path) -> Tensor:
    if tuple(values.shape) != tuple(size):
        raise UserError(
            f"{path} is {values.shape[1]}x{values.shape[0]}, its image {size[1]}x{size[0]}: "
            "these are results of other images; make them again"
        )
    return values
