"""The base class of the data modules: splits, checks and loaders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from tag2mask.artifacts import Manifest, ResultFiles
from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import ClassList, ImageSample, UserError
from tag2mask.core.batches import images_at_once, passes_for
from tag2mask.data.image_set import ImageSet
from tag2mask.data.loaders import Processes, TotalBatches, ordered_loader, train_loader
from tag2mask.data.samples import TrainCrops, WholeImages

_log = logging.getLogger(__name__)


class ImageData(LightningDataModule):
    """An image set cut into loaders; the subclasses say what is in them.

    Attributes:
        dataset: the images.
        predict_split_name: the split that `predict` reads.
        done: set by the command line before `predict`: images with a result there are not decoded.

    Args:
        dataset: the images.
        batch_size: crops of a step on all devices together; fewer if the data set has fewer.
        predict_split: split to predict.
        predict_batch: whole images per batch.
        num_workers: loader processes.
    """

    collate: Callable[[list[Any]], Any] | None = None
    """What makes a batch of training samples; None stacks them."""

    def __init__(
        self, dataset: ImageSet, batch_size: int, predict_split: str, predict_batch: int, num_workers: int
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("predict_batch", predict_batch, 1),
            ("num_workers", num_workers, 0),
        ):
            if value < least:
                raise UserError(f"data.{name} must be at least {least}, got {value}")
        self.dataset = dataset
        self.batch_size = batch_size
        self.predict_split_name = predict_split
        self.predict_batch = predict_batch
        self.num_workers = num_workers
        self.done: ResultFiles | None = None
        self._epoch = 0
        self._train: Dataset[dict[str, Any]] | None = None

    @property
    def classes(self) -> ClassList:
        """The K foreground classes."""
        return self.dataset.classes

    def setup(self, stage: str) -> None:
        """Check every file that the step will read, before anything is computed.

        Args:
            stage: "fit", "validate", "test" or "predict".

        Raises:
            UserError: something is missing or wrong.
        """
        if stage == "fit":
            crops = self.train_crops()
            self._fit_batch(len(crops))
            self._train = ConcatDataset([crops] * self._passes(len(crops)))
        if stage in ("fit", "validate"):
            self.check_val()
        if stage == "predict":
            self.check_predict()

    def sources(self) -> list[Path]:
        """The files of the data set that the results depend on, once `setup` has run."""
        return self.dataset.sources()

    def train_crops(self) -> TrainCrops:
        """Check what training reads and make the crops; overridden where a module trains."""
        raise UserError(f"{type(self).__name__} has nothing to train on: use it with predict")

    def check_val(self) -> None:
        """Check what validation reads; nothing unless overridden."""

    def check_predict(self) -> None:
        """Check the images of the predict split."""
        self.dataset.check(self.predict_split_name, need_tags=False)

    def require_results(self, step: StepFolder, kind: str, wanted: Sequence[str] | None = None) -> Manifest:
        """The manifest of an earlier step whose results this module reads.

        Args:
            step: its folder.
            kind: what it must have left.
            wanted: images that it must have results for; None leaves that open.

        Raises:
            UserError: the step is not complete, of another kind, or made from other images or classes.
        """
        manifest = step.require((kind,), self.classes)
        require_images(step.path, manifest, self.dataset, wanted)
        return manifest

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Shuffled full batches of crops; the last, smaller one is dropped (poly schedules count on it)."""
        if self._train is None:
            raise RuntimeError('call setup("fit") before train_dataloader')
        processes = self._processes()
        at_once = images_at_once(self.batch_size, processes.count, self._collected())
        batches = TotalBatches(self._train, self.batch_size, processes, self._epoch)
        return train_loader(
            self._train, batches, at_once, self.num_workers, self.collate, pin_memory=self._on_gpu()
        )

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints: the epoch that a training which goes on begins with."""
        trainer = self.trainer
        epoch = 0 if trainer is None else vars(trainer.fit_loop.epoch_progress.current)["processed"]
        return {"epoch": int(epoch)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the epoch over: Lightning asks for the loader before its loops know theirs."""
        self._epoch = int(state_dict["epoch"])

    def predict_dataloader(self) -> DataLoader[ImageSample]:
        """Whole images of the predict split, in the order of its list, as lists of `ImageSample`."""
        return self.whole_loader(self.predict_images(), self.predict_batch)

    def predict_images(self) -> WholeImages:
        """The images to predict, at the size they have."""
        return WholeImages(self.dataset, self.dataset.ids(self.predict_split_name), done=self.done)

    def whole_loader(self, images: Dataset[Any], batch_size: int = 1) -> DataLoader[Any]:
        """A loader in list order whose batches are lists; of several processes, each gets its share."""
        return ordered_loader(images, self.num_workers, batch_size, self._processes())

    def _processes(self) -> Processes:
        return (
            Processes()
            if self.trainer is None
            else Processes(self.trainer.world_size, self.trainer.global_rank)
        )

    def _collected(self) -> int:
        return 1 if self.trainer is None else self.trainer.accumulate_grad_batches

    def _on_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _fit_batch(self, images: int) -> None:
        """Make the batch smaller where the data set does not fill one, and say what each device gets."""
        devices, passes, total = self._processes().count, self._collected(), min(self.batch_size, images)
        at_once = images_at_once(self.batch_size, devices, passes, images)
        said = []
        if total < self.batch_size:
            said.append(f"batches of {total} instead of {self.batch_size}: all {images} training images")
        if devices * passes > 1:
            each = f"{at_once} on each of {devices} devices" + (f", {passes} times" if passes > 1 else "")
            said.append(f"batches of {total} images in all: {each}")
        if self.trainer is None or self.trainer.is_global_zero:
            for line in said:
                _log.info(line)
        self.batch_size = total

    def _passes(self, images: int) -> int:
        """How often an epoch shows each image, so that the training has ``trainer.min_steps``; says so.

        Lightning ends at max_epochs however few steps that were.
        """
        trainer = self.trainer
        if trainer is None or not trainer.min_steps or (trainer.max_epochs or -1) < 1:
            return 1
        batch = self.batch_size
        passes = passes_for(images, batch, int(trainer.max_epochs or 0), trainer.min_steps)
        if passes > 1 and trainer.is_global_zero:
            _log.info(
                "each epoch shows the %d training images %d times: %d epochs are %d steps of the optimiser "
                "instead of %d (trainer.min_steps %d)",
                images, passes, trainer.max_epochs, images * passes // batch * int(trainer.max_epochs or 0),
                images // batch * int(trainer.max_epochs or 0), trainer.min_steps,
            )  # fmt: skip
        return passes


def require_images(
    step_dir: Path, manifest: Manifest, dataset: ImageSet, wanted: Sequence[str] | None = None
) -> None:
    """Check that a step was made from images of this data set.

    Args:
        step_dir: the step's folder, for the message.
        manifest: its manifest.
        dataset: the data set in use.
        wanted: ids that the step must have results for, or None.

    Raises:
        UserError: an image of one is missing in the other.
    """
    there = set(dataset.ids(manifest.split))
    for image_id in manifest.image_ids:
        if image_id not in there:
            raise UserError(
                f"{step_dir} was made from image {image_id}, which the split {manifest.split} of this "
                "data set does not have: use the data set of that run, or another run folder"
            )
    made = set(manifest.image_ids)
    for image_id in wanted or ():
        if image_id not in made:
            raise UserError(
                f"{step_dir} has no result for image {image_id}: run that step again for this split"
            )
