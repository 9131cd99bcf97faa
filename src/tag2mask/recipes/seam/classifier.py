"""The classifier whose maps follow the size of the image."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from tag2mask.core import TrainBatch, UserError
from tag2mask.losses import at_least_float32
from tag2mask.modules import Classifier
from tag2mask.ops.sizes import image_size, scaled_side
from tag2mask.recipes.seam.correlation import PixelCorrelation, aligned
from tag2mask.recipes.seam.losses import (
    cross_regularisation,
    equivariant_regularisation,
    least_foreground,
    stretched,
)


class View(NamedTuple):
    """What the losses read of a batch at one size; maps are stretched, and 0 for classes that are no tags."""

    logits: Tensor  # (B, K)
    maps: Tensor  # (B, K, H, W)
    refined: Tensor  # (B, K + 1, H, W), background first
    least: Tensor  # scalar, see `least_foreground`


class SeamClassifier(Classifier):
    """A classifier whose maps are the same for an image and for the image made small.

    Two views of a crop, itself and shrunk, go through one network. Each is classified; their maps are to be
    equal (equivariant regularisation, ER), and the maps of each are to be what pixel correlation makes of
    the other's (equivariant cross regularisation, ECR). Prediction: the refined maps. Source: Wang et al.,
    CVPR 2020 (SEAM), with what its published code adds: the loss `least_foreground`.

    Args:
        shrink: side of the second view relative to the crop.
        equivariance: weight of ER.
        cross: weight of ECR. It and `least_foreground` train the pixel correlation alone.
        cam_from: correlation predicts the refined maps, classifier those before.
        **classifier: arguments of `Classifier`.

    Raises:
        UserError: a value lies outside its range.
    """

    def __init__(
        self,
        shrink: float = 0.3,
        equivariance: float = 1.0,
        cross: float = 1.0,
        cam_from: Literal["correlation", "classifier"] = "correlation",
        **classifier: Any,
    ) -> None:
        super().__init__(**classifier)
        if not 0 < shrink < 1:
            raise UserError(f"shrink must lie between 0 and 1, got {shrink}")
        if equivariance < 0 or cross < 0:
            raise UserError(f"equivariance and cross must be 0 or more, got {equivariance} and {cross}")
        self.shrink = shrink
        self.equivariance = equivariance
        self.cross = cross
        self.cam_from = cam_from
        self.correlation = PixelCorrelation(self.backbone)

    def new_parts(self) -> list[nn.Module]:
        """The CAM head and the pixel correlation."""
        return [*super().new_parts(), self.correlation]

    def cam(self, images: Tensor) -> Tensor:
        """Class maps (B, K, h, w) of images (B, 3, H, W), RGB 0..255, ready for the ReLU."""
        if self.cam_from == "classifier":
            return super().cam(images)
        backbone = self.predicting_backbone
        features = backbone(images)
        maps = self.as_cam(self.class_maps(features["out"]))
        refined: Tensor = self.correlation(maps, features, backbone.normalise(images))
        return refined[:, 1:]

    def normalised(self, maps: Tensor) -> Tensor:
        """Maps (M, h, w) of the tags in 0..1."""
        return stretched(maps)

    def training_step(self, batch: TrainBatch, batch_index: int) -> Tensor:
        """All losses of a batch of crops."""
        images, tags = batch["image"].float(), batch["tags"]
        parts = self._losses(images, tags)
        size = len(images)
        self.log_dict({f"train/{name}": part for name, part in parts.items()}, batch_size=size)
        weights = {"equivariance": self.equivariance, "cross": self.cross}
        loss = torch.stack([weights.get(name, 1.0) * part for name, part in parts.items()]).sum()
        self.log("train/loss", loss, prog_bar=True, batch_size=size)
        return loss

    def _losses(self, images: Tensor, tags: Tensor) -> dict[str, Tensor]:
        height, width = (scaled_side(side, round(100 * self.shrink), 100) for side in image_size(images))
        size = (height, width)
        large, small = self._view(images, tags), self._view(aligned(images, size), tags)
        maps, refined = aligned(large.maps, size), aligned(large.refined, size)
        classes = [self.loss(view.logits, tags) for view in (large, small)]
        return {
            "class": (classes[0] + classes[1]) / 2,
            "least_foreground": (large.least + small.least) / 2,
            "equivariance": equivariant_regularisation(maps, small.maps),
            "cross": cross_regularisation(small.maps, refined) + cross_regularisation(maps, small.refined),
        }

    def _view(self, images: Tensor, tags: Tensor) -> View:
        size, tagged = image_size(images), tags[:, :, None, None]
        features = self.backbone(images)
        raw = self.class_maps(self.head.dropout(features["out"]))
        refined = self.correlation(self.as_cam(raw), features, self.backbone.normalise(images))
        maps, refined = aligned(at_least_float32(raw), size), aligned(refined, size)
        with_tags = torch.cat([torch.ones_like(tagged[:, :1]), tagged], 1)
        return View(
            maps.mean((2, 3)),
            stretched(self.as_cam(maps)) * tagged,
            stretched(refined) * with_tags,
            least_foreground(refined[:, 1:] * tagged),
        )
