"""The callbacks that every step has, beside those that its settings name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from tag2mask.artifacts import find_kind
from tag2mask.callbacks import (
    CamPanels,
    CudnnForCrops,
    LastCheckpoint,
    LogSteps,
    PredictionWriter,
    RandomState,
    StepIdentity,
    StepRecorder,
    StopOnSignal,
    StopWhenNotFinite,
    Throughput,
)
from tag2mask.step.speed import chosen_speed


def predict_callbacks(identity: StepIdentity) -> list[pl.Callback]:
    """Those of a prediction.

    Args:
        identity: the step, for its folder and its manifest.
    """
    writer = PredictionWriter(identity.folder / "out", find_kind(identity.kind), identity.classes)
    return [*_of_both(), writer, StepRecorder(identity, writer), StopOnSignal()]


def fit_callbacks(identity: StepIdentity, options: Any) -> list[pl.Callback]:
    """Those of a training.

    Args:
        identity: the step, for its folder and its manifest.
        options: the configuration of ``fit``.
    """
    fit = [CamPanels(), StepRecorder(identity), RandomState(), StopOnSignal(), Throughput()]
    fit += [LastCheckpoint(identity.folder), *chosen_speed(options)]
    fit += [LogSteps()] if options.trainer.log_every_n_steps is None else []
    return [*_of_both(), *fit, *_best_checkpoint(identity.folder, options.select_by)]


def _of_both() -> list[pl.Callback]:
    return [CudnnForCrops(), StopWhenNotFinite()]


def _best_checkpoint(folder: Path, monitor: str) -> list[pl.Callback]:
    if monitor == "last":
        return []
    place = folder / "checkpoints"
    return [ModelCheckpoint(place, "best", monitor=monitor, mode="max", enable_version_counter=False)]
