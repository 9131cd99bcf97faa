"""Writes predictions to disk, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import BasePredictionWriter

from tag2mask.artifacts import (
    safe_join,
    save_confidence,
    save_features,
    save_labels,
    save_maps,
    save_regions,
    save_sub_labels,
)
from tag2mask.core import (
    ClassList,
    FeaturesResult,
    LabelsResult,
    MapsResult,
    RegionsResult,
    Result,
    SubLabelsResult,
)


class PredictionWriter(BasePredictionWriter):
    """Writes each image's result under its id as soon as it is there; a file that exists is whole.

    Results are named by image id, never by batch index: under DDP each process writes its own share.

    Args:
        out: folder of the results.
        classes: to turn indices into mask ids.

    Attributes:
        written: images that this process has written.
    """

    def __init__(self, out: Path, classes: ClassList) -> None:
        interval: Literal["batch"] = "batch"
        super().__init__(interval)
        self.out = out
        self.classes = classes
        self.written = 0

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        prediction: Sequence[Result],
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write what `predict_step` returned."""
        for result in prediction or ():
            self._write(result)
            self.written += 1

    def _write(self, result: Result) -> None:
        match result:
            case MapsResult():
                self._write_maps(result)
            case LabelsResult():
                self._write_labels(result)
            case RegionsResult():
                save_regions(safe_join(self.out, f"{result.id}.png"), result.regions)
            case FeaturesResult():
                save_features(safe_join(self.out, f"{result.id}.npy"), result.features)
            case SubLabelsResult():
                clusters = {self.classes.all_ids[k]: number for k, number in result.clusters.items()}
                save_sub_labels(safe_join(self.out, f"{result.id}.json"), clusters)

    def _write_maps(self, result: MapsResult) -> None:
        ids = [self.classes.all_ids[k] for k in result.classes]
        save_maps(safe_join(self.out, f"{result.id}.npz"), result.maps, ids, result.image_size)

    def _write_labels(self, result: LabelsResult) -> None:
        if result.confidence is not None:
            save_confidence(safe_join(self.out / "confidence", f"{result.id}.png"), result.confidence)
        for folder, labels in result.labels.items():
            save_labels(safe_join(self.out / folder, f"{result.id}.png"), self.classes.to_ids(labels))
