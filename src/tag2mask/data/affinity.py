"""Images and the confident labels that AffinityNet trains on."""

from __future__ import annotations

from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.data.base import ImageData, require_images
from tag2mask.data.image_set import ImageSet
from tag2mask.data.samples import StepLabels, TrainCrops
from tag2mask.data.transforms import Augment, AugmentSpec


class AffinityData(ImageData):
    """Crops with confident foreground and background labels (PSA, Ahn and Kwak, CVPR 2018, section 3.2).

    Images keep their scale, for affinities are about fixed pixel distances; padding is black, and 255
    in the labels.

    Args:
        dataset: the images.
        labels_dir: folder of a step of kind affinity_labels (with ``out/fg`` and ``out/bg``).
        batch_size: crops per process and step.
        augment: random changes of the crops.
        predict_split: split to predict.
        predict_batch: whole images per batch.
        num_workers: loader processes.
    """

    def __init__(
        self,
        dataset: ImageSet,
        labels_dir: StepFolder,
        batch_size: int = 8,
        augment: AugmentSpec = AugmentSpec(crop=448, pad="black"),
        predict_split: str = "train",
        predict_batch: int = 1,
        num_workers: int = 2,
    ) -> None:
        super().__init__(dataset, batch_size, predict_split, predict_batch, num_workers)
        self.augment = Augment(augment)
        self.labels_dir = StepFolder(labels_dir)

    def train_crops(self) -> TrainCrops:
        """The images that the labels were made for."""
        step = self.labels_dir
        manifest = step.require(("affinity_labels",), self.classes)
        require_images(step.path, manifest, self.dataset)
        labels = StepLabels(self.classes, {"fg_labels": step.out / "fg", "bg_labels": step.out / "bg"})
        labels.check(manifest.image_ids)
        self.dataset.check_ids(manifest.image_ids, need_tags=False)
        return TrainCrops(self.dataset, manifest.image_ids, self.augment, labels=labels)
