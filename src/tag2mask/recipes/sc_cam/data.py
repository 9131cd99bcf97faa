"""Data of the rounds: the features of a split, and images with tags and sub-categories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tag2mask.artifacts import load_features, load_sub_labels, safe_join
from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import ImageSample, UserError
from tag2mask.data import ClassificationData
from tag2mask.data.base import ImageData
from tag2mask.data.image_set import ImageSet
from tag2mask.data.samples import TrainCrops, WholeImages
from tag2mask.data.transforms import Augment, AugmentSpec

Table = npt.NDArray[np.float32]


class _Named(WholeImages):
    """The ids of images; clustering does not look at the pixels again."""

    def _picture(self, image_id: str) -> ImageSample:
        return {"id": image_id, "done": False}


class FeatureData(ImageData):
    """The features of all images of a split, for clustering.

    Args:
        dataset: the images.
        features_dir: folder of the step that extracted the features.
        split: the images to cluster.
        predict_batch: images per batch.
        num_workers: loader processes.
    """

    def __init__(
        self,
        dataset: ImageSet,
        features_dir: StepFolder,
        split: str = "train",
        predict_batch: int = 64,
        num_workers: int = 0,
    ) -> None:
        super().__init__(dataset, 1, split, predict_batch, num_workers)
        self.features_dir = StepFolder(features_dir)

    def check_predict(self) -> None:
        """Check the images, their tags, and that the features are those of these images."""
        super().check_predict()
        self.require_results(self.features_dir, "features", self.dataset.ids(self.predict_split_name))

    def table(self) -> tuple[list[str], Table, Table]:
        """Ids of the N images, their features (N, C) and tags (N, K).

        Raises:
            UserError: a file is missing or broken, or vectors differ in length.
        """
        ids = self.dataset.ids(self.predict_split_name)
        out = self.features_dir.out
        rows = [load_features(safe_join(out, f"{image_id}.npy")) for image_id in ids]
        for image_id, row in zip(ids, rows, strict=True):
            if len(row) != len(rows[0]):
                raise UserError(
                    f"{out}/{image_id}.npy has {len(row)} numbers, {out}/{ids[0]}.npy {len(rows[0])}: "
                    "these are features of different networks; make them again"
                )
        return ids, np.stack(rows), np.stack([self.dataset.tags(image_id) for image_id in ids])

    def predict_images(self) -> WholeImages:
        """The ids of the split."""
        return _Named(self.dataset, self.dataset.ids(self.predict_split_name), done=self.done)


class _SubCategoryCrops(TrainCrops):
    """Crops with tags and with the sub-category of each tag."""

    def __init__(
        self, images: ImageSet, image_ids: Sequence[str], augment: Augment, folder: Path, count: int
    ) -> None:
        super().__init__(images, image_ids, augment, with_tags=True)
        self._folder = folder
        self._count = count

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = super().__getitem__(index)
        sample["sub_tags"] = self._sub_tags(self.image_ids[index])
        return sample

    def _sub_tags(self, image_id: str) -> torch.Tensor:
        path = safe_join(self._folder, f"{image_id}.json")
        classes = self.images.classes
        tags = torch.zeros(len(classes), self._count)
        for index, number in load_sub_labels(path, classes).items():
            if number >= self._count:
                raise UserError(
                    f"{path} has sub-category {number}, but data.init_args.sub_categories is {self._count}: "
                    "give the number that the sub-categories were made with"
                )
            tags[index - 1, number] = 1
        return tags.flatten()


class SubCategoryData(ClassificationData):
    """Crops with tags and sub-categories (Chang et al. 2020, section 3.2).

    Args:
        dataset: the images.
        sub_labels_dir: folder of the step that made the sub-categories; its images are trained on.
        sub_categories: K, sub-categories per class; as in that step.
        batch_size: see `ClassificationData`.
        augment: see `ClassificationData`.
        val_split: see `ClassificationData`.
        eval_long_side: see `ClassificationData`.
        predict_split: see `ClassificationData`.
        predict_batch: see `ClassificationData`.
        num_workers: see `ClassificationData`.
    """

    def __init__(
        self,
        dataset: ImageSet,
        sub_labels_dir: StepFolder,
        sub_categories: int = 10,
        batch_size: int = 16,
        augment: AugmentSpec = AugmentSpec(crop=448, long_side=(256, 512)),
        val_split: str = "val",
        eval_long_side: int | None = None,
        predict_split: str = "train",
        predict_batch: int = 1,
        num_workers: int = 2,
    ) -> None:
        super().__init__(
            dataset,
            batch_size=batch_size,
            augment=augment,
            val_split=val_split,
            predict_split=predict_split,
            predict_batch=predict_batch,
            eval_long_side=eval_long_side,
            num_workers=num_workers,
        )
        self.sub_labels_dir = StepFolder(sub_labels_dir)
        self.sub_categories = sub_categories

    def train_crops(self) -> TrainCrops:
        """The images of the sub-categories, with tags."""
        ids = self.require_results(self.sub_labels_dir, "sub_labels").image_ids
        self.dataset.check_ids(ids)
        folder = self.sub_labels_dir.out
        return _SubCategoryCrops(self.dataset, ids, self.augment, folder, self.sub_categories)
