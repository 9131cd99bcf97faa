"""What every network that trains shares: its optimiser, its saved arguments, plain checkpoints."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from tag2mask.core import ClassList, UserError
from tag2mask.modules.arguments import constructor_arguments, from_plain
from tag2mask.modules.optim import OptimizationBase

CHECKPOINT_KEY = "tag2mask"
ARGUMENTS_KEY = pl.LightningModule.CHECKPOINT_HYPER_PARAMS_KEY


class TrainableNetwork(pl.LightningModule):
    """Base of the networks that a step trains.

    A subclass builds its layers, losses and metrics in its constructor; `pretrained_parts` and
    `new_parts` say which layers learn with the base rate and which with the rate of new layers. All
    arguments of the subclass's constructor are saved as hyper-parameters, in plain types.

    Args:
        num_classes: number of foreground classes K (the command line takes it from the data).
        optimization: optimiser, rates and their schedule.
    """

    kind = "checkpoint"
    """What a step with this module leaves on disk (see `Manifest`)."""

    without_start: ClassVar[Mapping[str, Any]] = {}
    """Arguments that say where training starts from, each with the value for nowhere. A network that is
    restored from its checkpoint is built with these values."""

    def __init__(self, num_classes: int, optimization: OptimizationBase) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        self.save_hyperparameters(constructor_arguments(inspect.currentframe(), TrainableNetwork, type(self)))
        self.num_classes = num_classes
        self.optimization = optimization
        self.classes: ClassList | None = None

    def pretrained_parts(self) -> list[nn.Module]:
        """Modules that start from pretrained weights."""
        return []

    def new_parts(self) -> list[nn.Module]:
        """Modules that start from random weights."""
        return []

    def settings(self) -> dict[str, float]:
        """Fixed settings that the scorecard names, e.g. a threshold."""
        return {}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Four parameter groups under a schedule that moves once per step."""
        optimizer = self.optimization.build_optimizer(self.pretrained_parts(), self.new_parts())
        schedule = self.optimization.schedule(optimizer, self.schedule_steps())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Lightning's ``log``, of the mean over all processes. All of them must log it."""
        super().log(*args, **{**kwargs, "sync_dist": self._processes > 1})

    def anywhere(self, flag: bool) -> bool:
        """Whether a flag is set in any process: what all of them must do together is decided so."""
        return (
            flag if self._processes == 1 else self.trainer.strategy.reduce_boolean_decision(flag, all=False)
        )

    def place(self, mine: int) -> int:
        """Place in the data set of the image at a place of this process's share in list order."""
        return mine * self._processes + self.global_rank

    @property
    def _processes(self) -> int:
        return self.trainer.world_size if self._trainer is not None else 1

    def schedule_steps(self) -> int:
        """Steps after which the schedule of the rates ends: those of the training."""
        return int(self.trainer.estimated_stepping_batches)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the class and its class list beside the arguments, so that `restore` can rebuild it."""
        checkpoint[ARGUMENTS_KEY] = dict(self.hparams)
        checkpoint[CHECKPOINT_KEY] = {
            "class_path": f"{type(self).__module__}.{type(self).__qualname__}",
            "classes": self.classes.to_dict() if self.classes else None,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another class list.

        Raises:
            UserError: the classes differ, or the training had diverged.
        """
        facts = checkpoint.get(CHECKPOINT_KEY)
        if facts is None:
            raise UserError("the checkpoint was not made by tag2mask: train it with the fit of a step first")
        made = ClassList.from_dict(facts["classes"]) if facts["classes"] else None
        if self.classes is not None and made is not None and made != self.classes:
            raise UserError(
                f"the checkpoint was trained for the classes {', '.join(made.names)}, the data has "
                f"{', '.join(self.classes.names)}: use the data of that run, or train again"
            )
        _require_finite(checkpoint["state_dict"])

    @classmethod
    def restore(cls, checkpoint: dict[str, Any]) -> Self:
        """The module of a loaded checkpoint, in eval mode. No other file is read for it."""
        plain = {**checkpoint[ARGUMENTS_KEY], **cls.without_start}
        if "backbone" in plain:
            plain["backbone"] = {**plain["backbone"], "weights": "none"}
        _require_finite(checkpoint["state_dict"])
        module = cls(**from_plain(plain, TrainableNetwork, cls))
        module.load_state_dict(checkpoint["state_dict"])
        classes = checkpoint[CHECKPOINT_KEY]["classes"]
        module.classes = ClassList.from_dict(classes) if classes else None
        return module.eval()


def _require_finite(weights: Mapping[str, Tensor]) -> None:
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(
                f"the checkpoint's {name} is not finite, its training has diverged: train again with a "
                "smaller model.init_args.optimization.lr"
            )
