"""cuDNN for crops of one size, and PyTorch's own depthwise convolutions for whole images of many sizes."""

from __future__ import annotations

import os

import pytorch_lightning as pl
import torch
from torch import nn

from tag2mask.core import unknown_name

VARIABLE = "TAG2MASK_CUDNN"
CROPS, ALWAYS = "crops", "always"


class CudnnForCrops(pl.Callback):
    """Switches cuDNN off while a network with depthwise convolutions validates or predicts on CUDA.

    cuDNN prepares each convolution for each shape of its input: crops of a training pay that once, whole
    images again and again, since those of a data set have hundreds of sizes. With depthwise convolutions
    the first image of a size takes seconds, and later ones are no faster than without cuDNN. Other networks
    are prepared in a moment and run two to four times as fast with it: they keep it (docs/gpu.md).
    ``TAG2MASK_CUDNN=always`` leaves cuDNN as it is.

    Raises:
        UserError: another value of ``TAG2MASK_CUDNN``.
    """

    def __init__(self) -> None:
        use = os.environ.get(VARIABLE, CROPS)
        if use not in (CROPS, ALWAYS):
            raise unknown_name(f"value of {VARIABLE}", use, (CROPS, ALWAYS))
        self._wanted = use == CROPS
        self._before: bool | None = None

    def _off(self, module: pl.LightningModule) -> None:
        if self._wanted and self._before is None and on_cuda(module) and has_depthwise(module):
            self._before = torch.backends.cudnn.enabled
            torch.backends.cudnn.enabled = False

    def _as_before(self) -> None:
        if self._before is not None:
            torch.backends.cudnn.enabled = self._before
            self._before = None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate without."""
        self._off(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Train with cuDNN."""
        self._as_before()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Predict without."""
        self._off(pl_module)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave the process as it was."""
        self._as_before()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leave the process as it was."""
        self._as_before()


def on_cuda(module: pl.LightningModule) -> bool:
    """Whether a module is on a CUDA device."""
    return module.device.type == "cuda"


def has_depthwise(module: nn.Module) -> bool:
    """Whether a network has convolutions in groups of channels."""
    return any(isinstance(part, nn.Conv2d) and part.groups > 1 for part in module.modules())
