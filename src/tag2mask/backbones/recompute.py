"""Training with less memory: the inside of a backbone's blocks is computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from tag2mask.backbones.base import Backbone
from tag2mask.core import UserError

_FLAG = "--gradient-checkpointing"
_MADE: dict[type[nn.Module], type[nn.Module]] = {}


def recompute_blocks(backbone: Backbone) -> int:
    """Keep only the input of each block for the backward pass, which computes the rest again.

    Source: Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016. Losses and gradients stay the
    same: dropout draws the same numbers again.

    Args:
        backbone: a network; its blocks get another ``forward``.

    Returns:
        the number of blocks.

    Raises:
        UserError: it has no blocks, or batch normalisation in them trains, which would count a batch twice.
    """
    blocks = list(_blocks(getattr(backbone, "model", backbone)))
    if len(blocks) < 2:
        raise UserError(
            f"{_FLAG} needs a backbone of blocks, and {type(backbone).__name__} has none: train without it, "
            "or with trainer.accumulate_grad_batches 2, which needs less memory too"
        )
    for block in blocks:
        if any(isinstance(layer, _BatchNorm) and layer.training for layer in block.modules()):
            raise UserError(
                f"{_FLAG} does not go together with batch normalisation that trains, whose running "
                "statistics would count a batch twice: set model.init_args.backbone.batchnorm to frozen"
            )
        block.__class__ = _recomputed(type(block))
    return len(blocks)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The largest parts with several convolutions that are no mere list of others."""
    for child in module.children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _blocks(child)
        elif sum(p.ndim == 4 for p in child.parameters()) > 1:
            yield child


def _recomputed(block_class: type[nn.Module]) -> type[nn.Module]:
    """The class with a ``forward`` that keeps its input only; one in the block would go into its copies."""
    if block_class in _MADE:
        return _MADE[block_class]

    class Recomputed(block_class):  # type: ignore[valid-type, misc]
        def forward(self, *args: Any) -> Any:
            if not torch.is_grad_enabled():
                return super().forward(*args)
            return checkpoint(super().forward, *args, use_reentrant=False)

    return _MADE.setdefault(block_class, Recomputed)
