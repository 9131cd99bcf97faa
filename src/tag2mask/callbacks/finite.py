"""Stops a training whose numbers are no longer finite: infinite, or not a number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from tag2mask.core import NotFiniteError, UserError
from tag2mask.core.errors import DIVERGED_WAY_OUT


class StopWhenNotFinite(pl.Callback):
    """Ends the fit in the step after which the loss, a weight or a running statistic is not finite.

    Nothing comes of such a training: without this, it runs to its end and its predictions are empty. The
    checkpoint of the last epoch is from before.
    """

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Look at the loss and the weights after each step.

        Raises:
            UserError: one of them is infinite or NaN.
        """
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor) and not torch.isfinite(loss).all():
            raise UserError(_message(f"the loss is {float(loss.mean())}", trainer))
        # The largest of each tensor: one pass over the memory, and only one number comes back from a GPU.
        tensors = [t for t in (*pl_module.parameters(), *pl_module.buffers()) if t.is_floating_point()]
        largest = float(torch.nn.utils.get_total_norm(tensors, norm_type=math.inf))
        if not math.isfinite(largest):
            raise UserError(_message(f"{_first_bad(pl_module)} is not finite", trainer))

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Say what it means that a function has refused the output of the network.

        Weights that are finite still, but huge, give such an output: in a validation before the next step,
        or in a prediction. The message becomes the cause of the error, where a step looks for one.
        """
        if isinstance(exception, NotFiniteError) and exception.__cause__ is None:
            predicts = trainer.state.fn == TrainerFn.PREDICTING
            exception.__cause__ = UserError(
                f"the network's output is not finite ({exception}): {DIVERGED_WAY_OUT}"
                if predicts
                else _message(f"the network's output is not finite ({exception})", trainer)
            )


def _message(what: str, trainer: pl.Trainer) -> str:
    return (
        f"after step {trainer.global_step} (epoch {trainer.current_epoch + 1}) {what}: train with a smaller "
        "model.init_args.optimization.lr"
        + ("" if str(trainer.precision).startswith("32") else ", or with --trainer.precision 32")
    )


def _first_bad(module: pl.LightningModule) -> str:
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            return name
    return "a weight"
