"""Stage 2: AffinityNet learns which neighbouring pixels belong to one class."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from tag2mask.backbones import build_backbone
from tag2mask.core import TrainBatch
from tag2mask.heads import AffinityHead
from tag2mask.losses import AffinityLoss
from tag2mask.modules.base import OptimizerFactory, Stage, load_stage
from tag2mask.ops import affinity_labels, pool_labels


class AffinityLearner(Stage):
    """Images -> features whose distances are semantic affinities (Ahn and Kwak, CVPR 2018, 3.3).

    The loss balances pairs within background, within foreground and across classes (equations
    5 to 10), read from two label maps: one with confident foreground, one with confident
    background.

    Args:
        num_classes: number of foreground classes K; set from the data.
        backbone: resnet38, vgg16 or any timm name.
        weights: imagenet, none, or the path of a weight file.
        output_stride: 8 or 16.
        frozen: parts of the backbone that do not train; null takes the architecture's default.
        freeze_batchnorm: keep batch-norm as pretrained.
        radius: pairs lie closer than this many cells of the stride-8 grid.
        border: psa leaves out the pairs at the border that the published code leaves out.
        init_from: checkpoint of a classifier whose backbone to start from; null starts from
            `weights`, as the published results did.
        lr: see `Stage`; 0.01 for ResNet38, 0.1 for VGG16.
        weight_decay: see `Stage`.
        optimizer: see `Stage`.
        poly_power: see `Stage`.
        new_layer_factor: see `Stage`.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet38",
        weights: str = "imagenet",
        output_stride: int = 8,
        frozen: list[str] | None = None,
        freeze_batchnorm: bool = True,
        radius: int = 5,
        border: Literal["psa", "all"] = "psa",
        init_from: str | None = None,
        lr: float = 0.01,
        weight_decay: float = 5e-4,
        optimizer: OptimizerFactory = torch.optim.SGD,
        poly_power: float = 0.9,
        new_layer_factor: float = 10.0,
    ) -> None:
        super().__init__(num_classes, lr, weight_decay, optimizer, poly_power, new_layer_factor)
        self.backbone_name = backbone
        self.weights = weights
        self.output_stride = output_stride
        self.frozen = frozen
        self.freeze_batchnorm = freeze_batchnorm
        self.radius = radius
        self.border: Literal["psa", "all"] = border
        self.init_from = init_from
        self.build()

    def configure_network(self) -> None:
        """Backbone and affinity head."""
        self.backbone = build_backbone(
            self.backbone_name,
            self.weights,
            self.output_stride,
            self.frozen,
            self.freeze_batchnorm,
            role="affinity",
        )
        self.head = AffinityHead.for_backbone(self.backbone)
        if self.init_from:
            source = load_stage(self.init_from)
            self.backbone.load_state_dict(source.get_submodule("backbone").state_dict())

    def configure_losses(self) -> None:
        """The balanced affinity loss."""
        self.loss = AffinityLoss(self.radius, self.border)

    def pretrained_parts(self) -> list[nn.Module]:
        """The backbone, and the head's group norms as in the published code."""
        return [self.backbone, *self.head.norms]

    def new_parts(self) -> list[nn.Module]:
        """The convolutions of the affinity head."""
        return self.head.convolutions

    def network_args(self) -> dict[str, Any]:
        """See `Stage.network_args`."""
        return {
            "num_classes": self.num_classes,
            "backbone": self.backbone_name,
            "weights": "none",
            "output_stride": self.output_stride,
            "radius": self.radius,
        }

    def forward(self, images: Tensor) -> Tensor:
        """Affinity features (B, C, ceil(H/8), ceil(W/8)) of images (B, 3, H, W), RGB 0..255."""
        features: Tensor = self.head(self.backbone(images))
        return features

    def training_step(self, batch: TrainBatch, batch_index: int) -> Tensor:
        """The affinity loss of a batch of crops."""
        features = self(batch["image"])
        labels = affinity_labels(
            pool_labels(batch["fg_labels"], self.num_classes + 1),
            pool_labels(batch["bg_labels"], self.num_classes + 1),
        )
        loss: Tensor
        loss, parts = self.loss(features, labels)
        size = len(batch["image"])
        self.log("train/loss", loss, prog_bar=True, batch_size=size)
        self.log_dict({f"train/{k}": parts[k] for k in ("bg", "fg", "neg")}, batch_size=size)
        return loss
