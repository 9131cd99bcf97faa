"""Pictures of class activation maps in the experiment tracker, while the network trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor
from torch.nn import functional as F

from tag2mask.core import ImageSample


class _MakesMaps(Protocol):
    def cam(self, images: Tensor) -> Tensor: ...


class CamPanels(pl.Callback):
    """Logs class activation maps of the first validation images after each validation.

    Works with TensorBoard and wandb; other loggers take no pictures and are left alone.

    Args:
        images: how many images to show.
    """

    def __init__(self, images: int = 4) -> None:
        self.images = images
        self._kept: list[ImageSample] = []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first images."""
        if trainer.is_global_zero and len(self._kept) < self.images and hasattr(pl_module, "cam"):
            self._kept.extend(cast(Sequence[ImageSample], batch)[: self.images - len(self._kept)])

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw and log them."""
        loggers = [lg for lg in trainer.loggers if isinstance(lg, TensorBoardLogger | WandbLogger)]
        if loggers and self._kept and not trainer.sanity_checking:
            network = cast(_MakesMaps, pl_module)
            for number, sample in enumerate(self._kept):
                _log(loggers, f"val/cam_{number}", cam_panel(network, sample), trainer.global_step)
        self._kept = []


@torch.no_grad()
def cam_panel(network: _MakesMaps, sample: ImageSample) -> npt.NDArray[np.uint8]:
    """The image beside the map of each of its tags.

    Args:
        network: has ``cam(images (1, 3, H, W)) -> (1, K, h, w)``.
        sample: image and tags.

    Returns:
        (H, (1 + number of tags) * W, 3) uint8 RGB.
    """
    image = sample["image"]
    size = (int(image.shape[-2]), int(image.shape[-1]))
    maps = network.cam(image[None]).float().clamp(min=0)
    # resized first: an image without tags has no map, and torch resizes no empty tensor
    maps = F.interpolate(maps, size, mode="bilinear", align_corners=False)[0, sample["tags"] > 0]
    strength = (maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-5)).cpu().numpy()
    pixels = image.permute(1, 2, 0).cpu().numpy()
    red = np.array([255.0, 40.0, 0.0])
    shown = [pixels] + [(pixels * (1 - 0.7 * s[..., None]) + 0.7 * s[..., None] * red) for s in strength]
    panel: npt.NDArray[np.uint8] = np.concatenate(shown, 1).clip(0, 255).astype(np.uint8)
    return panel


def _log(loggers: Sequence[Any], name: str, panel: npt.NDArray[np.uint8], step: int) -> None:
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, panel, step, dataformats="HWC")
        else:
            logger.log_image(name, [panel], step)
