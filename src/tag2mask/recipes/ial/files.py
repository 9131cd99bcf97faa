"""What the steps of a round left on disk, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.artifacts import load_labels, load_maps, load_regions, require_step, safe_join
from tag2mask.core import UserError
from tag2mask.data.base import require_images
from tag2mask.data.image_set import ImageSet
from tag2mask.data.samples import to_indices


def dense_maps(maps: Tensor, classes: Sequence[int], count: int) -> Tensor:
    """Maps (M, h, w) of some classes among all: (count, h, w), 0 where a class has no map."""
    dense = maps.new_zeros(count, *maps.shape[-2:], dtype=torch.float32)
    dense[list(classes)] = maps.float()
    return dense


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
        maps_dir: str | Path,
        superpixels_dir: str | Path,
        labels_dir: str | None = None,
    ) -> None:
        self.images = images
        self.maps_dir = Path(maps_dir)
        self.superpixels_dir = Path(superpixels_dir)
        self.labels_dir = None if labels_dir is None else Path(labels_dir)

    def check(self, kinds: Sequence[str] = ("maps", "superpixels", "labels")) -> list[str]:
        """The images that the steps cover.

        Raises:
            UserError: a step is not complete, of another kind, or made from other images.
        """
        folders = {"maps": self.maps_dir, "superpixels": self.superpixels_dir, "labels": self.labels_dir}
        used = {kind: folder for kind, folder in folders.items() if folder is not None and kind in kinds}
        ids: list[str] = []
        for kind, folder in used.items():
            manifest = require_step(folder, kinds=(kind,), classes=self.images.classes)
            ids = ids or manifest.image_ids
            require_images(folder, manifest, self.images, ids)
        return ids

    def maps(self, image_id: str) -> tuple[Tensor, list[int]]:
        """Unary maps (M, h, w) and the index of each."""
        stored = load_maps(safe_join(self.maps_dir / "out", f"{image_id}.npz"))
        return torch.from_numpy(stored.maps), to_indices(self.images.classes, stored.class_ids)

    def superpixels(self, image_id: str, size: Sequence[int]) -> Tensor:
        """Superpixels (H, W) of an image of that size."""
        path = safe_join(self.superpixels_dir / "out", f"{image_id}.png")
        return _of_size(torch.from_numpy(load_regions(path)), size, path)

    def labels(self, image_id: str, size: Sequence[int]) -> Tensor:
        """Labels (H, W) int64 of an image of that size, from the labels' step or from the maps."""
        if self.labels_dir is None:
            maps, classes = self.maps(image_id)
            full = F.interpolate(maps[None], [int(s) for s in size], mode="bilinear", align_corners=False)[0]
            return torch.tensor(classes)[full.max(0).indices]
        path = safe_join(self.labels_dir / "out", f"{image_id}.png")
        indices = self.images.classes.to_index(load_labels(path))
        return _of_size(torch.from_numpy(indices).long(), size, path)


def _of_size(values: Tensor, size: Sequence[int], path: Path) -> Tensor:
    if tuple(values.shape) != tuple(size):
        raise UserError(
            f"{path} is {values.shape[1]}x{values.shape[0]}, its image {size[1]}x{size[0]}: "
            "these are results of other images; make them again"
        )
    return values
