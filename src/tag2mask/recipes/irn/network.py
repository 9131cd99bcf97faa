"""The network that learns where classes end."""

from __future__ import annotations

from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.backbones import BackboneSpec
from tag2mask.core import IGNORE, TrainBatch, UserError
from tag2mask.heads import BOUNDARY_STRIDE, BoundaryHead
from tag2mask.losses import at_least_float32, boundary_loss
from tag2mask.modules import Optimization, PairNetwork
from tag2mask.ops import affinity_labels
from tag2mask.ops.sizes import cells


class BoundaryNet(PairNetwork):
    """Images -> where one class ends and another begins (the boundary branch of IRN, section 4.1).

    The backbone keeps its weights: only the head learns. The branch of displacements is left out: it
    separates the objects of a class, and does not touch the boundaries.

    Args:
        num_classes: number of foreground classes K; set from the data.
        backbone: what the head reads; all of it is frozen.
        optimization: optimiser and rates.
        radius: pairs of cells of the stride-4 grid lie closer than this.
        border: psa leaves out the pairs at the border that the published code leaves out.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneSpec = BackboneSpec("resnet50", output_stride=16),
        optimization: Optimization = Optimization(lr=0.1, weight_decay=1e-4, new_layer_factor=1.0),
        radius: int = 10,
        border: Literal["psa", "all"] = "psa",
    ) -> None:
        super().__init__(num_classes, optimization)
        self.backbone = backbone.build("affinity")
        try:
            self.head = BoundaryHead(self.backbone.taps)
        except ValueError as error:
            raise UserError(f"backbone {backbone.name}: {error}; choose e.g. resnet50") from error
        self.backbone.use_only(self.head.names)
        self.backbone.requires_grad_(False)
        self.radius = radius
        self.border: Literal["psa", "all"] = border

    def new_parts(self) -> list[nn.Module]:
        """The head."""
        return [self.head]

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the head; the backbone stays in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Logits of boundaries (B, ceil(H/4), ceil(W/4)) of images (B, 3, H, W), RGB 0..255."""
        with torch.no_grad():
            features = self.backbone(images)
        logits: Tensor = self.head(features)
        return logits

    def cues(self, images: Tensor) -> Tensor:
        """Boundaries (B, ceil(H/4), ceil(W/4)) in 0..1, from images and their mirror images."""
        height, width = (cells(side, BOUNDARY_STRIDE) for side in images.shape[-2:])
        whole = self._padded(images)
        logits: Tensor = (self(whole) + self(whole.flip(-1)).flip(-1)) / 2
        return logits[:, :height, :width].sigmoid()

    def _padded(self, images: Tensor) -> Tensor:
        """Images with the mean colour below and right of them, to whole cells of the coarsest level.

        Cells of an image and of its mirror image lie on each other only then.
        """
        coarsest = max(tap.stride for tap in self.backbone.taps.values())
        sides = [cells(side, coarsest) * coarsest for side in images.shape[-2:]]
        colour = torch.tensor(self.backbone.pad_value, dtype=torch.float32, device=images.device)
        whole = colour.view(1, 3, 1, 1).repeat(len(images), 1, *sides)
        whole[..., : images.shape[-2], : images.shape[-1]] = images
        return whole

    def training_step(self, batch: TrainBatch, batch_index: int) -> Tensor:
        """The boundary loss of a batch of crops."""
        labels = affinity_labels(batch["fg_labels"], batch["bg_labels"])
        boundaries = at_least_float32(self(batch["image"])).sigmoid()
        loss, parts = boundary_loss(boundaries, centre_labels(labels), self.radius, self.border)
        size = len(batch["image"])
        self.log("train/loss", loss, prog_bar=True, batch_size=size)
        self.log_dict({f"train/{k}": parts[k] for k in ("bg", "fg", "neg")}, batch_size=size)
        return loss


def centre_labels(labels: Tensor) -> Tensor:
    """The label in the middle of each cell of stride 4, pixel (4i + 2, 4j + 2) as in IRN's code.

    Args:
        labels: (B, H, W) integers.

    Returns:
        (B, ceil(H/4), ceil(W/4)); 255 where the middle lies outside.
    """
    below, right = (-side % BOUNDARY_STRIDE for side in labels.shape[-2:])
    whole = F.pad(labels, (0, right, 0, below), value=IGNORE)
    middle = BOUNDARY_STRIDE // 2
    return whole[:, middle::BOUNDARY_STRIDE, middle::BOUNDARY_STRIDE]
