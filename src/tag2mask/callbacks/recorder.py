"""Writes the manifest and the metrics of a step while it runs."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from tag2mask.artifacts import (
    METRICS_NAME,
    SOURCES_NAME,
    CommandRecord,
    Manifest,
    atomic_write_json,
    collect_versions,
    find_kind,
    git_commit,
    note_sources,
    read_json,
    read_manifest,
    remove_temporaries,
    write_manifest,
)
from tag2mask.callbacks.stop import StoppedBySignal
from tag2mask.callbacks.writer import PredictionWriter
from tag2mask.core import ClassList, UserError
from tag2mask.core.alarms import STEPS_METRIC


@dataclass
class StepIdentity:
    """What is known of a step before it runs; the manifest records it.

    Attributes:
        folder: the step's folder.
        command: fit or predict.
        kind: kind of artifact (see `Manifest`).
        recipe: name of the recipe, "" when started by hand.
        classes: the classes of the data.
        data: description of the image set.
        split: split that is predicted, "" for fit.
        image_ids: images that predict has to cover.
        done_folder: folder below ``out/`` whose file is written last.
        parents: input step's folder name -> hash of its manifest.
        fingerprint: what the runner gave.
        config_hash: hash of the resolved configuration.
        settings: fixed settings that the scorecard names.
        checkpoint: network that fit makes, relative to the folder.
        sources: gives the files of the data set that the step reads, once they are checked.
    """

    folder: Path
    command: str
    kind: str
    recipe: str
    classes: ClassList
    data: dict[str, Any]
    split: str
    image_ids: list[str]
    done_folder: str = ""
    parents: dict[str, str] = field(default_factory=dict)
    fingerprint: str = ""
    config_hash: str = ""
    settings: Mapping[str, float] = field(default_factory=dict)
    checkpoint: str = ""
    sources: Callable[[], list[Path]] = list

    def missing(self) -> list[str]:
        """Images without a result."""
        files = find_kind(self.kind).files(self.folder / "out", self.done_folder)
        return [i for i in self.image_ids if not files.has(i)]


class StepRecorder(pl.Callback):
    """Writes the manifest: incomplete at the start, complete when every result is on disk.

    Args:
        identity: facts about the step.
        writer: what writes the predictions; None for fit.
    """

    def __init__(self, identity: StepIdentity, writer: PredictionWriter | None = None) -> None:
        self.identity = identity
        self.writer = writer
        self._start = 0.0
        self._earlier = 0.0
        self._healed: Manifest | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Mark the command as begun, and clear away what a killed process has left."""
        self._start = time.monotonic()
        before = read_manifest(self.identity.folder)
        self._earlier = self._time_before(before)
        self._healed = before if before is not None and self._has_made(before) else None
        if trainer.is_global_zero:
            remove_temporaries(self.identity.folder)
            self._note_sources()
            write_manifest(self.identity.folder, self._manifest(complete=False))
        trainer.strategy.barrier("tag2mask_begun")  # no process writes before that

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note metrics and time beside the checkpoint: a training killed after its last epoch keeps them."""
        self._note_metrics(trainer)
        self._note_time(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Note the time of a command that was asked to stop."""
        if isinstance(exception, KeyboardInterrupt | StoppedBySignal):
            self._note_time(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the last metrics and mark the fit as complete."""
        trainer.strategy.barrier()
        if trainer.is_global_zero and trainer.state.status != "interrupted":
            self._note_metrics(trainer)
            write_manifest(self.identity.folder, self._manifest(complete=True))

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Mark the prediction as complete once every process has written its images.

        Raises:
            UserError: images are missing, e.g. because of ``limit_predict_batches``.
        """
        written = torch.tensor(self.writer.written if self.writer else 0, device=pl_module.device)
        written = trainer.strategy.reduce(written, reduce_op="sum")
        trainer.strategy.barrier()
        if not trainer.is_global_zero:
            return
        self._write_metrics(self.identity.settings)
        if missing := self.identity.missing():
            raise UserError(
                f"{len(missing)} of {len(self.identity.image_ids)} images have no result in "
                f"{self.identity.folder / 'out'} (first: {missing[0]}): run the same command again, "
                "without limit_predict_batches"
            )
        write_manifest(self.identity.folder, self._healed or self._manifest(complete=True))
        out, total = self.identity.folder / "out", len(self.identity.image_ids)
        print(f"{int(written)} of {total} images written to {out}")

    def _has_made(self, manifest: Manifest) -> bool:
        """Whether this prediction was finished before, with the same settings and inputs; files were lost."""
        me, record = self.identity, manifest.commands.get("predict")
        return (
            me.command == "predict"
            and manifest.complete
            and record is not None
            # an earlier version hashed the places of files, too
            and (record.fingerprint or record.config_hash) == (me.fingerprint or me.config_hash)
            and manifest.parents == me.parents
            and manifest.image_ids == me.image_ids
        )

    def _note_sources(self) -> None:
        """Note what is read of the data set; what the inputs have noted is not hashed again."""
        me = self.identity
        known = [me.folder.parent / name / SOURCES_NAME for name in me.parents]
        note_sources(me.folder / SOURCES_NAME, me.sources(), known)

    def _note_metrics(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero:
            values = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
            # one that is not a number (the AP of a class that val does not show) has no place in JSON
            known = {k: v for k, v in values.items() if math.isfinite(v)}
            self._write_metrics({**known, STEPS_METRIC: float(trainer.global_step)})

    def _note_time(self, trainer: pl.Trainer) -> None:
        manifest = read_manifest(self.identity.folder) if trainer.is_global_zero else None
        if manifest is not None and self.identity.command in manifest.commands:
            manifest.commands[self.identity.command].seconds = self._seconds()
            write_manifest(self.identity.folder, manifest)

    def _write_metrics(self, values: Mapping[str, float]) -> None:
        path = self.identity.folder / METRICS_NAME
        atomic_write_json(path, {**(read_json(path) or {}), **values})

    def _manifest(self, complete: bool) -> Manifest:
        me = self.identity
        before = read_manifest(me.folder)
        commands = dict(before.commands) if before else {}
        commands[me.command] = self._record(complete)
        predicts = me.command == "predict"
        return Manifest(
            step=me.folder.name,
            kind=me.kind,
            recipe=me.recipe,
            classes=me.classes.to_dict(),
            data=me.data,
            split=me.split,
            image_ids=me.image_ids if predicts and complete else [],
            parents=me.parents,
            commands=commands,
            # A prediction makes no network: it keeps what its fit has recorded.
            checkpoint=before.checkpoint if before and predicts else me.checkpoint,
            commit=git_commit(),
            versions=collect_versions(),
            complete=complete and (predicts or me.kind == "checkpoint"),
        )

    def _time_before(self, before: Manifest | None) -> float:
        """Seconds of the halves of this command that were stopped, up to when each last noted its time."""
        record = before.commands.get(self.identity.command) if before else None
        same = record is not None and record.config_hash == self.identity.config_hash
        return record.seconds if record is not None and same and not record.complete else 0.0

    def _seconds(self) -> float:
        return round(self._earlier + time.monotonic() - self._start, 2)

    def _record(self, complete: bool) -> CommandRecord:
        return CommandRecord(
            complete=complete,
            fingerprint=self.identity.fingerprint,
            config_hash=self.identity.config_hash,
            seconds=self._seconds(),
            peak_memory_mb=round(peak_memory_mb(), 1) if complete else 0.0,
        )


def peak_memory_mb() -> float:
    """Highest memory use of this process: on the GPU if it used one, else resident memory."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
