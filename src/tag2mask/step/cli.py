"""One step of a run as a plain LightningCLI that fills the folder of the step."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.cli import LightningArgumentParser
from pytorch_lightning.plugins import LayerSync

from tag2mask.artifacts import (
    SCRIPTS,
    TRAINING_SCRIPTS,
    atomic_write_text,
    checkpoint_path,
    config_name,
    find_kind,
    read_manifest,
)
from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.callbacks import (
    StepProgressBar,
    WholeFiles,
    newest_checkpoint,
    stopping_on_signals,
)
from tag2mask.core import UserError, keep_freed_memory, unknown_name
from tag2mask.core.flags import TRAINING_FLAGS
from tag2mask.data.base import ImageData
from tag2mask.modules import Predictor, TrainableNetwork
from tag2mask.step.callbacks import fit_callbacks, predict_callbacks
from tag2mask.step.hardware import usable_precision
from tag2mask.step.identity import config_hash, step_identity
from tag2mask.step.loggers import CSV_LOGGER, as_list, point_to_folder, with_csv
from tag2mask.step.messages import hide_known_warnings, outcome_of, show_notes
from tag2mask.step.sync import SyncedNorms
from tag2mask.step.usage import ShortUsageCLI
from tag2mask.step.words import nulls_of_objects


class StepCLI(ShortUsageCLI):
    """LightningCLI with a step's folder: configuration, checkpoints, results and manifest go there.

    Args:
        script: one of `tag2mask.artifacts.SCRIPTS`.
        args: what follows ``tag2mask step SCRIPT``.
    """

    def __init__(self, script: str, args: Sequence[str]) -> None:
        self.script = script
        super().__init__(
            TrainableNetwork if script in TRAINING_SCRIPTS else Predictor,
            ImageData,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            trainer_defaults={"logger": CSV_LOGGER},
            auto_configure_optimizers=False,
            seed_everything_default=0,
            args=nulls_of_objects(args),
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The options that a step has beside Lightning's."""
        parser.add_argument("--step-dir", type=str, required=True, help="folder of this step: RUN/STEP")
        parser.add_argument("--recipe", type=str, default="", help="recipe's name, for the manifest")
        parser.add_argument("--fingerprint", type=str, default="", help="set by the runner")
        parser.add_argument(
            "--select-by",
            type=str,
            default="last",
            help="checkpoint to use: last, or a logged value to maximise; val/miou looks at masks",
        )
        parser.add_argument(
            "--network-from",
            type=StepFolder | None,
            default=None,
            help="folder of the step whose network predicts (default: this step's own)",
        )
        if self.model_class is TrainableNetwork:
            for flag, what in TRAINING_FLAGS.items():
                parser.add_argument(f"--{flag}", action="store_true", help=f"fit only: {what}")
            parser.link_arguments(
                "data", "model.init_args.num_classes", compute_fn=_count_classes, apply_on="instantiate"
            )

    def _parse_ckpt_path(self) -> None:
        """Keep the given configuration: Lightning would let a checkpoint's own override it silently."""

    @property
    def options(self) -> Any:
        """The configuration of the chosen subcommand."""
        return self.config[self.subcommand]

    @property
    def call(self) -> Any:
        """The arguments of the Trainer's method; later changes to `options` do not reach them."""
        return self.config_init[self.subcommand]

    def before_instantiate_classes(self) -> None:
        """Point loggers and Lightning's files to the step's folder."""
        trainer, step_dir = self.options.trainer, Path(self.options.step_dir)
        trainer.default_root_dir = str(step_dir)
        if self.subcommand == "fit":
            trainer.logger = with_csv(trainer.logger)
        point_to_folder(as_list(trainer.logger), step_dir)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """The trainer with the callbacks of a step."""
        trainer = self.config_init[self.subcommand].trainer
        given, plugins = as_list(trainer.callbacks), as_list(trainer.plugins)
        own = self._own_callbacks() if self.subcommand in ("fit", "predict") else []
        kwargs = {"precision": usable_precision(trainer), **kwargs}
        wanted = trainer.enable_progress_bar is not False
        if wanted and not any(isinstance(c, ProgressBar) for c in given):
            own.append(StepProgressBar())
        if not any(isinstance(p, CheckpointIO) for p in plugins):
            plugins = [*plugins, WholeFiles()]
        if not trainer.sync_batchnorm and not any(isinstance(p, LayerSync) for p in plugins):
            plugins = [*plugins, SyncedNorms()]
        # Given from the start, so that Lightning adds no checkpoint callback of its own.
        return super().instantiate_trainer(**{**kwargs, "callbacks": [*given, *own], "plugins": plugins})

    def _own_callbacks(self) -> list[pl.Callback]:
        command = str(self.subcommand)
        identity = step_identity(command, self.options, self.config_dump, self.model, self.datamodule)
        return predict_callbacks(identity) if command == "predict" else fit_callbacks(identity, self.options)

    def before_fit(self) -> None:
        """Save the configuration and go on from the last checkpoint of an interrupted fit.

        Raises:
            UserError: the folder holds a finished fit, or one with another configuration.
        """
        if self.options.network_from is not None:
            raise UserError("--network-from names a network that predicts: fit has no use for it")
        record = self._earlier_record()
        if record is not None and record.complete:
            raise UserError(
                f"{self.options.step_dir} holds a finished fit: move it away or give another --step-dir"
            )
        if self.call.ckpt_path is None and record is not None:
            last = newest_checkpoint(Path(self.options.step_dir))
            if last is not None:
                print(f"going on from {last}")
                self.call.ckpt_path = str(last)
        self.call.weights_only = True
        self._save_config()

    def before_predict(self) -> None:
        """Save the configuration, find the checkpoint and skip images that are done."""
        self._earlier_record()
        if isinstance(self.model, TrainableNetwork) and self.call.ckpt_path is None:
            self.call.ckpt_path = str(self._trained_checkpoint())
        self.call.weights_only = True
        self.call.return_predictions = False
        if not isinstance(self.model, Predictor):
            raise UserError(f"{type(self.model).__name__} has nothing to predict: run fit only")
        files = find_kind(self.model.kind).files(Path(self.options.step_dir) / "out", self.model.done_folder)
        self.datamodule.done = files
        self._save_config()

    def _trained_checkpoint(self) -> Path:
        step_dir = Path(self.options.network_from or self.options.step_dir)
        manifest = read_manifest(step_dir)
        if manifest is None or not manifest.trained:
            raise UserError(f"{step_dir} holds no finished fit: run fit first, or give --ckpt_path FILE")
        if manifest.kind != self.model.kind or manifest.class_list() != self.datamodule.classes:
            raise UserError(
                f"{step_dir} holds a network of another kind or for other classes than this step: "
                "name a step of the same kind and data set with --network-from"
            )
        return checkpoint_path(step_dir, manifest)

    def _earlier_record(self) -> Any:
        manifest = read_manifest(self.options.step_dir)
        record = manifest.commands.get(str(self.subcommand)) if manifest else None
        if record is None or record.config_hash in self._earlier_hashes(record.fingerprint):
            return record
        raise UserError(
            f"{self.options.step_dir} was begun with another configuration "
            f"(see its {self.subcommand}.yaml): move it away or give another --step-dir"
        )

    def _earlier_hashes(self, fingerprint: str) -> set[str]:
        """What the hash of this configuration may be in a command's record."""
        hashes = {config_hash(self.config_dump)}
        return hashes | ({config_hash(self.config_dump, anywhere=True)} if fingerprint else set())

    def after_instantiate_classes(self) -> None:
        """Tell the module which classes it has, for its checkpoint and its logs."""
        if isinstance(self.model, TrainableNetwork):
            self.model.classes = self.datamodule.classes

    def _save_config(self) -> None:
        if self.trainer.is_global_zero:
            text = self._parser(self.subcommand).dump(self.options, skip_none=False)
            atomic_write_text(Path(self.options.step_dir) / config_name(str(self.subcommand)), text)


def _count_classes(data: ImageData) -> int:
    return len(data.classes)


def main(script: str, args: Sequence[str] | None = None) -> int:
    """Run one command of a step.

    Args:
        script: classifier, affinity, pseudo_labels or segmentation.
        args: LightningCLI arguments; None takes those of the process.

    Returns:
        0, or 2 after a mistake of the user or a full disk, 130 after Ctrl-C, 75 after SIGTERM or SIGUSR1.
    """
    torch.set_float32_matmul_precision("high")
    hide_known_warnings()
    show_notes()
    keep_freed_memory()
    try:
        with stopping_on_signals():
            if script not in SCRIPTS:
                raise unknown_name("script", script, SCRIPTS)
            StepCLI(script, sys.argv[1:] if args is None else args)
    except BaseException as error:
        code, message = outcome_of(error)
        if not message:
            raise
        print(message, file=sys.stderr)
        return code
    return 0
