"""What the manifest records of a step, read from its configuration."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from jsonargparse import Namespace

from tag2mask.artifacts import sha256_json
from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.callbacks import StepIdentity
from tag2mask.core.flags import TRAINING_FLAGS
from tag2mask.data.base import ImageData
from tag2mask.modules import Predictor, TrainableNetwork

_NOT_IDENTITY = {"step_dir", "recipe", "fingerprint", "ckpt_path", "config"}
_NOT_IDENTITY |= {flag.replace("-", "_") for flag in TRAINING_FLAGS}
_ROOT = "root"
"""The argument of every data set that other paths are relative to; a moved one may have another name."""
_NOT_IDENTITY_TRAINER = ("devices", "num_nodes", "logger", "default_root_dir", "enable_progress_bar")


def step_identity(
    command: str, options: Any, config: Mapping[str, Any], model: pl.LightningModule, data: ImageData
) -> StepIdentity:
    """The facts that go into the step's manifest.

    Args:
        command: fit or predict.
        options: the parsed options of the command.
        config: the resolved configuration as plain values.
        model: the step's module.
        data: the step's data module.

    Raises:
        UserError: an input step is missing or not complete.
    """
    predicts = command == "predict"
    split = data.predict_split_name if predicts else ""
    trained = isinstance(model, TrainableNetwork) and options.network_from is None
    return StepIdentity(
        folder=Path(options.step_dir),
        command=command,
        kind=str(model.kind),
        recipe=options.recipe,
        classes=data.classes,
        data=data.dataset.describe(),
        split=split,
        image_ids=list(data.dataset.ids(split)) if predicts else [],
        done_folder=model.done_folder if isinstance(model, Predictor) else "",
        parents=_parents(options),
        fingerprint=options.fingerprint,
        config_hash=config_hash(config, anywhere=bool(options.fingerprint)),
        settings=model.settings() if isinstance(model, TrainableNetwork) else {},
        sources=data.sources,
        checkpoint=f"checkpoints/{'last' if options.select_by == 'last' else 'best'}.ckpt" if trained else "",
    )


def config_hash(config: Mapping[str, Any], anywhere: bool = False) -> str:
    """Hash of a resolved configuration, without the options that change no result.

    Args:
        config: plain values.
        anywhere: without the places of files and folders, so that run and data may be moved. For steps that
            the runner starts: its fingerprint stands for what lies there.
    """
    # a step with its own network has the configuration of one from before there was this option
    without = (*_NOT_IDENTITY, *(() if config.get("network_from") else ("network_from",)))
    kept = copy.deepcopy({k: v for k, v in config.items() if k not in without})
    for key in _NOT_IDENTITY_TRAINER:
        kept.get("trainer", {}).pop(key, None)
    # batches and their crops follow from the seed alone, whatever number of processes loads them
    kept.get("data", {}).get("init_args", {}).pop("num_workers", None)
    return sha256_json(_without_places(kept) if anywhere else kept)


def _without_places(plain: Any) -> Any:
    """Absolute paths by their last parts, and the data set without its root."""
    if isinstance(plain, Mapping):
        return {k: _without_places(v) for k, v in plain.items() if k != _ROOT or not _is_place(v)}
    if isinstance(plain, list | tuple):
        return [_without_places(value) for value in plain]
    return Path(plain).name if _is_place(plain) else plain


def _is_place(value: Any) -> bool:
    return isinstance(value, str) and Path(value).is_absolute()


def input_folders(options: Any) -> list[StepFolder]:
    """The folders of earlier steps that parsed options name, in the order of the options.

    Args:
        options: a namespace, mapping, list or value of the parsed configuration.
    """
    if isinstance(options, StepFolder):
        return [options]
    if isinstance(options, Namespace):
        options = vars(options)
    if isinstance(options, Mapping):
        options = list(options.values())
    if isinstance(options, list | tuple):
        return [folder for value in options for folder in input_folders(value)]
    return []


def _parents(options: Any) -> dict[str, str]:
    """Folder name -> manifest hash of every step that the data and the model read."""
    folders = input_folders([options.data, options.model, options.network_from])
    for folder in folders:
        folder.require()
    return {folder.name: folder.hash() for folder in folders}
