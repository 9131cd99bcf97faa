"""What the steps of a round left on disk, photo by photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.artifacts import load_labels, load_maps, load_regions, require_step, safe_join
from tag2mask.core import UserError
from tag2mask.data.base import require_photos
from tag2mask.data.photo_set import PhotoSet
from tag2mask.data.samples import to_indices


def dense_maps(maps: Tensor, classes: Sequence[int], count: int) -> Tensor:
    """Maps (M, h, w) of some classes among all: (count, h, w), 0 where a class has no map."""
    dense = maps.new_zeros(count, *maps.shape[-2:], dtype=torch.float32)
    dense[list(classes)] = maps.float()
    return dense


class RoundFiles:
    """What the steps of a round left on disk for a photo.

    Args:
        photos: the data set.
        maps_dir: folder of the step with the unary maps.
        superpixels_dir: folder of the step with the superpixels.
        labels_dir: folder of the step with the mined labels; None takes the argmax of the maps.
    """

    def __init__(
        self,
        photos: PhotoSet,
        maps_dir: str | Path,
        superpixels_dir: str | Path,
        labels_dir: str | None = None,
    ) -> None:
        self.photos = photos
        self.maps_dir = Path(maps_dir)
        self.superpixels_dir = Path(superpixels_dir)
        self.labels_dir = None if labels_dir is None else Path(labels_dir)

    def check(self, kinds: Sequence[str] = ("maps", "superpixels", "labels")) -> list[str]:
        """The photos that the steps cover.

        Raises:
            UserError: a step is not complete, of another kind, or made from other photos.
        """
        folders = {"maps": self.maps_dir, "superpixels": self.superpixels_dir, "labels": self.labels_dir}
        used = {kind: folder for kind, folder in folders.items() if folder is not None and kind in kinds}
        ids: list[str] = []
        for kind, folder in used.items():
            manifest = require_step(folder, kinds=(kind,), classes=self.photos.classes)
            ids = ids or manifest.image_ids
            require_photos(folder, manifest, self.photos, ids)
        return ids

    def maps(self, image_id: str) -> tuple[Tensor, list[int]]:
        """Unary maps (M, h, w) and the index of each."""
        stored = load_maps(safe_join(self.maps_dir / "out", f"{image_id}.npz"))
        return torch.from_numpy(stored.maps), to_indices(self.photos.classes, stored.class_ids)

    def superpixels(self, image_id: str, size: Sequence[int]) -> Tensor:
        """Superpixels (H, W) of a photo of that size."""
        path = safe_join(self.superpixels_dir / "out", f"{image_id}.png")
        return _of_size(torch.from_numpy(load_regions(path)), size, path)

    def labels(self, image_id: str, size: Sequence[int]) -> Tensor:
        """Labels (H, W) int64 of a photo of that size, from the labels' step or from the maps."""
        if self.labels_dir is None:
            maps, classes = self.maps(image_id)
            full = F.interpolate(maps[None], [int(s) for s in size], mode="bilinear", align_corners=False)[0]
            return torch.tensor(classes)[full.max(0).indices]
        path = safe_join(self.labels_dir / "out", f"{image_id}.png")
        indices = self.photos.classes.to_index(load_labels(path))
        return _of_size(torch.from_numpy(indices).long(), size, path)


def _of_size(values: Tensor, size: Sequence[int], path: Path) -> Tensor:
    if tuple(values.shape) != tuple(size):
        raise UserError(
            f"{path} is {values.shape[1]}x{values.shape[0]}, its photo {size[1]}x{size[0]}: "
            "these are results of other photos; make them again"
        )
    return values
