"""How a network is trained where that changes time and memory, and results in their last digits only."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from tag2mask.backbones import Backbone, recompute_blocks
from tag2mask.core import UserError

Compiler = str | Callable[..., Any]
_COMPILERS = ("c++", "g++", "clang++", "cl")


class TrainingSpeed(pl.Callback):
    """Compiles the backbone of a network, lays its weights out anew, or saves memory, for its training.

    Args:
        compiled: compile the backbone for the crops of the training. Validation, whose images have many
            sizes, runs it as it is.
        channels_last: lay out the weights of all convolutions with their channels last. The images are so
            already.
        recomputed: keep only the inputs of the backbone's blocks for the backward pass.
        compiler: backend of ``torch.compile``.
    """

    def __init__(
        self, compiled: bool, channels_last: bool, recomputed: bool, compiler: Compiler = "inductor"
    ) -> None:
        self.compiled = compiled
        self.channels_last = channels_last
        self.recomputed = recomputed
        self.compiler = compiler

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Change the network before its optimiser is made.

        Raises:
            UserError: it cannot be done with this network or on this machine.
        """
        if stage == "fit":
            self.prepare(pl_module)

    def prepare(self, network: nn.Module) -> None:
        """Change a network; see `setup`."""
        backbones = [m for m in network.modules() if isinstance(m, Backbone)]
        if not backbones and (self.compiled or self.recomputed):
            raise UserError(
                f"--compile and --gradient-checkpointing work on the backbones of tag2mask, and "
                f"{type(network).__name__} has an encoder of its own: train without them"
            )
        if self.recomputed:
            for backbone in backbones:
                recompute_blocks(backbone)
        if self.channels_last:
            network.to(memory_format=torch.channels_last)
        if self.compiled:
            _require_compiler(self.compiler)
            for backbone in backbones:
                backbone.compile(backend=self.compiler, dynamic=False)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Run the network as it is: each size of image would be compiled anew."""
        if self.compiled:
            torch.compiler.set_stance("force_eager")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the compiled network."""
        if self.compiled:
            torch.compiler.set_stance("default")


def chosen_speed(options: Any) -> Sequence[TrainingSpeed]:
    """What the options of a fit ask for: one callback, or none."""
    asked = (options.compile, options.channels_last, options.gradient_checkpointing)
    return [TrainingSpeed(*asked)] if any(asked) else []


def _require_compiler(compiler: Compiler) -> None:
    if compiler == "inductor" and not (os.environ.get("CXX") or any(map(shutil.which, _COMPILERS))):
        raise UserError(
            "--compile needs a C++ compiler, and there is none on the PATH: install g++, or train without it"
        )
