"""What every stage module shares: fixed hooks, the optimiser of the papers, plain checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, Self, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import nn

from tag2mask.artifacts import require_step
from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.backbones import Backbone, load_into
from tag2mask.core import ClassList, UserError
from tag2mask.modules.optim import parameter_groups, poly_schedule

OptimizerFactory = Callable[[Iterable[Any]], torch.optim.Optimizer]
"""Parameter groups (each with its lr and weight_decay) to an optimiser."""

T = TypeVar("T", bound="Stage")

CHECKPOINT_KEY = "tag2mask"


class Stage(pl.LightningModule):
    """Base of the stage modules.

    A subclass builds its network in `configure_network`, its losses in `configure_losses` and its
    metrics in `configure_metrics`; `pretrained_parts` and `new_parts` say which layers learn with
    the base rate and which with the rate of new layers.

    Args:
        num_classes: number of foreground classes K (the command line takes it from the data).
        lr: learning rate of pretrained weights.
        weight_decay: decay of weights; biases have none.
        optimizer: class or factory of the optimiser.
        poly_power: exponent of the poly schedule.
        new_layer_factor: learning rate of new layers over `lr`.
    """

    kind = "checkpoint"
    """What a step with this module leaves on disk (see `Manifest`)."""

    def __init__(
        self,
        num_classes: int,
        lr: float,
        weight_decay: float,
        optimizer: OptimizerFactory,
        poly_power: float = 0.9,
        new_layer_factor: float = 10.0,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        if not lr > 0 or weight_decay < 0:
            raise UserError(f"lr must be above 0 and weight_decay not below 0, got {lr} and {weight_decay}")
        self.num_classes = num_classes
        self.lr = lr
        self.weight_decay = weight_decay
        self.optimizer_factory = optimizer
        self.poly_power = poly_power
        self.new_layer_factor = new_layer_factor
        self.classes: ClassList | None = None

    def build(self) -> None:
        """Call the three hooks in order; the last line of every subclass's ``__init__``."""
        self.configure_network()
        self.configure_losses()
        self.configure_metrics()

    def configure_network(self) -> None:
        """Build the layers."""

    def configure_losses(self) -> None:
        """Build the losses."""

    def configure_metrics(self) -> None:
        """Build the metrics."""

    def pretrained_parts(self) -> list[nn.Module]:
        """Modules that start from pretrained weights."""
        return []

    def new_parts(self) -> list[nn.Module]:
        """Modules that start from random weights."""
        return []

    def network_args(self) -> dict[str, Any]:
        """Plain constructor arguments that rebuild the network for `load_stage`."""
        return {"num_classes": self.num_classes}

    def settings(self) -> dict[str, float]:
        """Fixed settings that the scorecard names, e.g. a threshold."""
        return {}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Four parameter groups under a poly schedule that moves once per step."""
        groups = parameter_groups(
            self.pretrained_parts(),
            self.new_parts(),
            lr=self.lr,
            weight_decay=self.weight_decay,
            new_factor=self.new_layer_factor,
        )
        optimizer = self.optimizer_factory(groups)
        schedule = poly_schedule(optimizer, self.schedule_steps(), self.poly_power)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def schedule_steps(self) -> int:
        """Steps after which the poly schedule reaches 0: those of the training."""
        return int(self.trainer.estimated_stepping_batches)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what `load_stage` needs, in plain types, so that the file loads without unpickling."""
        classes = self.classes.to_dict() if self.classes else None
        checkpoint[CHECKPOINT_KEY] = {
            "class_path": f"{type(self).__module__}.{type(self).__qualname__}",
            "network": self.network_args(),
            "classes": classes,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another class list.

        Raises:
            UserError: the classes differ.
        """
        facts = checkpoint.get(CHECKPOINT_KEY)
        if facts is None:
            raise UserError("the checkpoint was not made by tag2mask: train with the stage's fit first")
        made = ClassList.from_dict(facts["classes"]) if facts["classes"] else None
        if self.classes is not None and made is not None and made != self.classes:
            raise UserError(
                f"the checkpoint was trained for the classes {', '.join(made.names)}, the data has "
                f"{', '.join(self.classes.names)}: use the data of that run, or train again"
            )

    @classmethod
    def restore(cls, checkpoint: dict[str, Any]) -> Self:
        """The module of a loaded checkpoint, in eval mode."""
        facts = checkpoint[CHECKPOINT_KEY]
        module = cls(**facts["network"])
        module.load_state_dict(checkpoint["state_dict"])
        module.classes = ClassList.from_dict(facts["classes"]) if facts["classes"] else None
        return module.eval()


def load_stage(path: str | Path) -> Stage:
    """A stage module from a checkpoint of a run, on the CPU and in eval mode.

    The file is read as data: no pickled code runs, and only stage classes of tag2mask are built.

    Args:
        path: a ``.ckpt`` file.

    Raises:
        UserError: the file is missing, not readable as plain data, or not a tag2mask checkpoint.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"no checkpoint at {path}: run the step that trains it first") from error
    except Exception as error:
        raise UserError(f"{path} cannot be read as a checkpoint of plain tensors: {error}") from error
    facts = checkpoint.get(CHECKPOINT_KEY) if isinstance(checkpoint, dict) else None
    if not facts:
        raise UserError(f"{path} is not a tag2mask checkpoint; give one from a run's checkpoints/ folder")
    return _stage_class(str(facts["class_path"]), path).restore(checkpoint)


def load_network(step_dir: StepFolder | str | Path, kind: type[T]) -> T:
    """The network that a step trained.

    Raises:
        UserError: the step is not complete or trained another network.
    """
    manifest = require_step(step_dir)
    if not manifest.checkpoint:
        raise UserError(f"{step_dir} trained no network: give the folder of a step that has a fit")
    module = load_stage(Path(step_dir) / manifest.checkpoint)
    if not isinstance(module, kind):
        raise UserError(f"{step_dir} holds a {type(module).__name__}, not a {kind.__name__}")
    return module.requires_grad_(False)


def load_backbone(backbone: Backbone, step_dir: StepFolder | str | Path | None) -> None:
    """Copy the backbone of an earlier step's network into another network of the same architecture.

    Args:
        backbone: the one to fill.
        step_dir: folder of the step that trained the network.

    Raises:
        UserError: no folder is given, its step is not complete, or it has another backbone.
    """
    if step_dir is None:
        raise UserError("starting from a classifier needs its step: give model.init_args.classifier_from")
    manifest = require_step(step_dir)
    source = load_stage(Path(step_dir) / manifest.checkpoint)
    state = source.get_submodule("backbone").state_dict()
    load_into(backbone, state, f"of the network in {step_dir}")


def _stage_class(class_path: str, origin: str | Path) -> type[Stage]:
    module, _, name = class_path.rpartition(".")
    # The path comes from a file: nothing outside this package is imported for it.
    if module.split(".")[0] != "tag2mask":
        raise UserError(f"{origin} asks for the class {class_path}, which is not part of tag2mask")
    found = getattr(import_module(module), name, None)
    if not (isinstance(found, type) and issubclass(found, Stage)):
        raise UserError(f"{origin} asks for {class_path}, which is not a stage of tag2mask")
    return found
