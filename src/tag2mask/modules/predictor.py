"""What every module that predicts shares."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl

from tag2mask.artifacts import find_kind
from tag2mask.core import ImageSample, ScoreMaps, UserError, map_threads
from tag2mask.core.errors import DIVERGED_WAY_OUT
from tag2mask.modules.working_size import enlarged, shrunk
from tag2mask.ops.sizes import image_size

_log = logging.getLogger(__name__)


class Predictor(pl.LightningModule):
    """Base of what predicts: one image in, one result out.

    A subclass names its `kind` and writes `predict_image`; the command line writes the results where
    the kind says. A module that also trains derives from this class and from `TrainableNetwork`, in this
    order.
    """

    kind: str
    """What a step with this module leaves for each image: the name of a registered kind."""

    threads: int | None = 1
    """Images of a batch that are predicted side by side; None takes one for each usable CPU.

    Threads do not inherit the precision and the gradient mode of the trainer, so networks stay with 1.
    """

    largest_image: int = 2_000_000
    """Pixels above which an image is shrunk for validation and prediction: time and memory grow with them,
    and the networks were trained on images of some 0.2 million."""

    _said = False

    @property
    def done_folder(self) -> str:
        """Folder below ``out/`` whose file is written last for each image."""
        return find_kind(self.kind).done_folder

    def predict_image(self, sample: ImageSample) -> Any:
        """The result of one image, as its kind saves it (e.g. `ScoreMaps` for maps)."""
        raise NotImplementedError(f"{type(self).__name__} must write predict_image")

    def predict_images(self, samples: Sequence[ImageSample]) -> list[Any]:
        """The results of some images, in their order."""
        return map_threads(self.predict_image, samples, self.threads)

    def on_validation_batch_start(
        self, batch: list[ImageSample], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Very large images of a validation are shrunk as those of a prediction, their masks with them."""
        batch[:] = [shrunk(sample, self.largest_image) for sample in batch]

    def predict_step(self, batch: Sequence[ImageSample], batch_index: int) -> list[Any]:
        """The results of the images of a batch that are not on disk yet, at the size of the images."""
        samples = [sample for sample in batch if not sample.get("done")]
        small = [shrunk(sample, self.largest_image) for sample in samples]
        results = self.predict_images(small)
        for result in results:
            _require_finite(result)
        if any(a is not b for a, b in zip(small, samples, strict=True)):
            self._say_so()
        return [
            result if a is b else enlarged(result, image_size(b["image"]))
            for result, a, b in zip(results, small, samples, strict=True)
        ]

    def _say_so(self) -> None:
        if not self._said:
            most = self.largest_image / 1e6
            _log.info(
                "images above %.1f megapixels are worked on at that size; results have their size", most
            )
            self._said = True


def not_finite(image_id: str) -> UserError:
    """The error of a network that gives infinite scores, or none that are numbers."""
    return UserError(f"the network's scores of image {image_id} are not finite: {DIVERGED_WAY_OUT}")


def _require_finite(result: Any) -> None:
    if isinstance(result, ScoreMaps) and not np.isfinite(result.maps).all():
        raise not_finite(result.image_id)
