"""Images and the confident labels that AffinityNet trains on."""

from __future__ import annotations

from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.data.base import ImageData
from tag2mask.data.image_set import ImageSet
from tag2mask.data.samples import StepLabels, TrainCrops
from tag2mask.data.transforms import Augment, AugmentSpec


class AffinityData(ImageData):
    """Crops with confident foreground and background labels (PSA, Ahn and Kwak, CVPR 2018, section 3.2).

    By default images keep their scale, for affinities are about fixed pixel distances, and padding is
    black; in the labels it is 255.

    Args:
        dataset: the images.
        labels_dir: folder of a step of kind affinity_labels (with ``out/fg`` and ``out/bg``).
        batch_size: crops of a step on all devices together.
        augment: random changes of the crops.
        num_workers: loader processes.
    """

    def __init__(
        self,
        dataset: ImageSet,
        labels_dir: StepFolder,
        batch_size: int = 8,
        augment: AugmentSpec = AugmentSpec(crop=448, pad="black"),
        num_workers: int = 2,
    ) -> None:
        super().__init__(dataset, batch_size, "train", 1, num_workers)
        self.augment = Augment(augment)
        self.labels_dir = StepFolder(labels_dir)

    def train_crops(self) -> TrainCrops:
        """The images that the labels were made for."""
        step = self.labels_dir
        ids = self.require_results(step, "affinity_labels").image_ids
        labels = StepLabels(self.classes, {"fg_labels": step.out / "fg", "bg_labels": step.out / "bg"})
        labels.check(ids)
        self.dataset.check_ids(ids, need_tags=False)
        return TrainCrops(self.dataset, ids, self.augment, labels=labels)
