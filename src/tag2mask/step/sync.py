"""Batch normalisation over the images of all devices of a training."""

from __future__ import annotations

import logging

from pytorch_lightning.plugins import LayerSync
from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]
from torch.nn import Module
from torch.nn.modules.batchnorm import _BatchNorm

_log = logging.getLogger(__name__)


class SyncedNorms(LayerSync):
    """Lets batch normalisation that trains see the batch of all devices, as on one device.

    timm's conversion also knows the layers of timm that have their activation inside, which torch's own
    would lose. torch has these layers on GPUs only.
    """

    def apply(self, model: Module) -> Module:
        """Convert a network before its training on several devices."""
        if not any(isinstance(layer, _BatchNorm) and layer.training for layer in model.modules()):
            return model
        if next(model.parameters()).device.type == "cpu":
            _log.warning(
                "batch normalisation sees the images of its own process only, because torch has no other on "
                "CPUs: results depend on the number of processes; "
                "set model.init_args.backbone.batchnorm to frozen"
            )
            return model
        return convert_sync_batchnorm(model)  # type: ignore[no-any-return,no-untyped-call]

    def revert(self, model: Module) -> Module:
        """Leave the network as it is: it is thrown away after its training."""
        return model
