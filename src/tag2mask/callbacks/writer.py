"""Writes predictions to disk, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import BasePredictionWriter

from tag2mask.artifacts import Kind
from tag2mask.core import ClassList


class PredictionWriter(BasePredictionWriter):
    """Writes the result of each image to a file named by the image's id; a file that exists is complete.

    Results are named by image id, never by batch index: under DDP each process writes its own share.

    Args:
        out: folder of the results.
        kind: what the step leaves for an image.
        classes: gives class indices their mask ids.

    Attributes:
        written: images that this process has written.
    """

    def __init__(self, out: Path, kind: Kind, classes: ClassList) -> None:
        interval: Literal["batch"] = "batch"
        super().__init__(interval)
        self.out = out
        self.kind = kind
        self.classes = classes
        self.written = 0

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        prediction: Sequence[Any],
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write what `predict_step` returned."""
        for result in prediction or ():
            self.kind.save(self.out, result, self.classes)
            self.written += 1
