"""The state of the random generators, saved with each checkpoint."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import distributed


class RandomState(pl.Callback):
    """Makes a training that was stopped go on with the random numbers of one that was not.

    Saves the states of Python, NumPy and torch (CPU and GPU) of each process at the end of an epoch. A
    training that goes on in another number of processes keeps the fresh ones.
    """

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the states of all processes."""
        states: list[Any] = [_states()]
        if trainer.world_size > 1:
            states *= trainer.world_size
            distributed.all_gather_object(states, states[0])
        checkpoint["random_states"] = states

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Set the state of this process.

        The network is built by now; the first batch of the epoch is chosen right after, when the optimiser
        asks for the number of steps.
        """
        states = checkpoint.get("random_states", [])
        if len(states) == trainer.world_size:
            _restore(states[trainer.global_rank])


def _states() -> dict[str, Any]:
    """The states of all generators, in types that are read without running code."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (str(kind), [int(k) for k in keys], int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _restore(states: dict[str, Any]) -> None:
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(tuple(states["numpy"]))
    torch.set_rng_state(states["torch"].cpu())
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])
