"""Whole photos with the maps of an earlier step, for the pseudo-label generator."""

from __future__ import annotations

from pathlib import Path

from tag2mask.artifacts.manifest import require_step
from tag2mask.data.base import PhotoData, require_photos
from tag2mask.data.photo_set import PhotoSet
from tag2mask.data.samples import WholePhotos


class PseudoLabelData(PhotoData):
    """Whole photos with their tags and the maps to refine; there is nothing to train.

    Args:
        dataset: the photos.
        maps_dir: folder of a step of kind maps (with ``out/<id>.npz``).
        split: the photos to make labels for; the maps must cover it.
        predict_batch: whole photos per batch.
        num_workers: loader processes.
    """

    def __init__(
        self,
        dataset: PhotoSet,
        maps_dir: str,
        split: str = "train",
        predict_batch: int = 8,
        num_workers: int = 2,
    ) -> None:
        super().__init__(dataset, 1, split, predict_batch, num_workers)
        self.maps_dir = maps_dir

    def check_predict(self) -> None:
        """Checks the photos, their tags, and that the maps are those of these photos."""
        self.dataset.check(self.predict_split_name)
        step = Path(self.maps_dir)
        manifest = require_step(step, kinds=("maps",), classes=self.classes)
        require_photos(step, manifest, self.dataset, self.dataset.ids(self.predict_split_name))

    def predict_photos(self) -> WholePhotos:
        """Whole photos with tags and maps."""
        photos = super().predict_photos()
        photos.with_tags = True
        photos.maps_dir = Path(self.maps_dir) / "out"
        return photos
