"""Checkpoints that are whole or not there, and the one before in case the last one breaks."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint

from tag2mask.artifacts import LAST_CHECKPOINT, atomic_write_bytes
from tag2mask.core import UserError

_LAST = Path(LAST_CHECKPOINT)
_BEFORE = "before_last.ckpt"
"""Beside the last checkpoint: the one of the epoch before."""


class WholeFiles(TorchCheckpointIO):
    """Writes checkpoints aside, flushes them to the disk and renames them.

    Lightning writes them to the system's temporary folder and copies them: a full disk or a kill then leaves
    a part under the final name. Of the last checkpoint, the one before is kept.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            UserError: the disk is full, or the folder cannot be written to.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        before = Path(path).with_name(_BEFORE) if Path(path).name == _LAST.name else None
        atomic_write_bytes(path, buffer.getbuffer(), keep=before)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = lambda storage, _: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint.

        Raises:
            UserError: it is missing or broken, or holds more than plain tensors.
        """
        try:
            return super().load_checkpoint(path, map_location, weights_only)
        except Exception as error:
            raise UserError(f"{path} cannot be read as a checkpoint: {_first_line(error)}") from error


class LastCheckpoint(ModelCheckpoint):
    """Saves the network after each epoch; once the training is complete, only the last one stays.

    Args:
        step_dir: the step's folder.
    """

    def __init__(self, step_dir: Path) -> None:
        super().__init__(
            step_dir / _LAST.parent,
            filename=_LAST.stem,
            enable_version_counter=False,
            save_on_train_epoch_end=True,
        )
        self._before = step_dir / _LAST.parent / _BEFORE

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Drop the checkpoint before the last one."""
        if trainer.is_global_zero:
            self._before.unlink(missing_ok=True)


def newest_checkpoint(step_dir: Path) -> Path | None:
    """The checkpoint from which a training that was stopped goes on; a broken one is passed over.

    Args:
        step_dir: the step's folder.
    """
    for path in (step_dir / _LAST, step_dir / _LAST.parent / _BEFORE):
        if not path.is_file():
            continue
        try:
            torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            print(f"{path} is broken and passed over: {_first_line(error)}")
        else:
            return path
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
