"""Whole images with the maps of an earlier step, for the pseudo-label generator."""

from __future__ import annotations

from tag2mask.artifacts.maps import example_maps
from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import ScoreMaps
from tag2mask.data.base import ImageData
from tag2mask.data.image_set import ImageSet
from tag2mask.data.samples import WholeImages


class PseudoLabelData(ImageData):
    """Whole images with their tags and the maps to refine; there is nothing to train.

    Args:
        dataset: the images.
        maps_dir: folder of a step of kind maps (with ``out/<id>.npz``).
        split: the images to make labels for; the maps must cover it.
        predict_batch: whole images per batch.
        num_workers: loader processes.
    """

    def __init__(
        self,
        dataset: ImageSet,
        maps_dir: StepFolder,
        split: str = "train",
        predict_batch: int = 8,
        num_workers: int = 2,
    ) -> None:
        super().__init__(dataset, 1, split, predict_batch, num_workers)
        self.maps_dir = StepFolder(maps_dir)

    def check_predict(self) -> None:
        """Check the images, their tags, and that the maps are those of these images."""
        self.dataset.check(self.predict_split_name)
        self.require_results(self.maps_dir, "maps", self.dataset.ids(self.predict_split_name))

    def example_maps(self) -> list[ScoreMaps]:
        """Maps of some of the images, the same ones in every process (`tag2mask.artifacts.example_maps`)."""
        ids = self.dataset.ids(self.predict_split_name)
        return example_maps(self.maps_dir.out, ids, self.classes)

    def predict_images(self) -> WholeImages:
        """Whole images with tags and maps."""
        images = super().predict_images()
        images.with_tags = True
        images.maps_dir = self.maps_dir.out
        return images
