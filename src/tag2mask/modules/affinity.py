"""Stage 2: networks that learn which neighbouring pixels belong to one class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from tag2mask.backbones import BackboneSpec
from tag2mask.core import TrainBatch
from tag2mask.heads import AffinityHead
from tag2mask.losses import AffinityLoss
from tag2mask.modules.base import TrainableNetwork
from tag2mask.modules.loading import copy_backbone, load_checkpoint
from tag2mask.modules.optim import Optimization
from tag2mask.ops import affinity_labels, pool_labels


class PairNetwork(TrainableNetwork):
    """Base of the networks that tell which neighbouring cells belong together; random walks read them."""

    def cues(self, images: Tensor) -> Tensor:
        """What a walk makes its affinities of; a subclass says it.

        Args:
            images: (B, 3, H, W) RGB 0..255.

        Returns:
            (B, ..., h, w).
        """
        raise NotImplementedError(f"{type(self).__name__} must write cues")


class AffinityNet(PairNetwork):
    """Images -> features whose distances are semantic affinities (Ahn and Kwak, CVPR 2018, 3.2).

    The loss balances pairs within background, within foreground and across classes (equations
    5 to 10), read from two label maps: one with confident foreground, one with confident
    background.

    Args:
        num_classes: number of foreground classes K; set from the data.
        backbone: what the network is built on.
        optimization: optimiser and rates: lr 0.01 for ResNet38, 0.1 for VGG16.
        radius: pairs lie closer than this many cells of the stride-8 grid.
        border: psa leaves out the pairs at the border that the published code leaves out.
        init_from: checkpoint of a classifier whose backbone to start from; null starts from the
            backbone's weights, as the published results did.
    """

    without_start: ClassVar[Mapping[str, Any]] = {"init_from": None}

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneSpec = BackboneSpec(),
        optimization: Optimization = Optimization(lr=0.01),
        radius: int = 5,
        border: Literal["psa", "all"] = "psa",
        init_from: str | None = None,
    ) -> None:
        super().__init__(num_classes, optimization)
        self.backbone = backbone.build("affinity")
        self.head = AffinityHead.for_backbone(self.backbone)
        if init_from is not None:
            copy_backbone(self.backbone, load_checkpoint(init_from), init_from)
        self.loss = AffinityLoss(radius, border)

    def pretrained_parts(self) -> list[nn.Module]:
        """The backbone, and the head's group norms as in the published code."""
        return [self.backbone, *self.head.norms]

    def new_parts(self) -> list[nn.Module]:
        """The convolutions of the affinity head."""
        return self.head.convolutions

    def forward(self, images: Tensor) -> Tensor:
        """Affinity features (B, C, ceil(H/8), ceil(W/8)) of images (B, 3, H, W), RGB 0..255."""
        features: Tensor = self.head(self.backbone(images))
        return features

    def cues(self, images: Tensor) -> Tensor:
        """The affinity features of `forward`."""
        features: Tensor = self(images)
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
