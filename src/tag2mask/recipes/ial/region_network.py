"""The network that gives each superpixel a class and a confidence (Wang et al. 2020, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tag2mask.backbones import BackboneSpec
from tag2mask.core import IGNORE, LabelsResult, UserError, unknown_name
from tag2mask.losses import known_cross_entropy, mean_over_processes
from tag2mask.modules import Predictor, TrainableNetwork
from tag2mask.modules.optim import OptimizationBase
from tag2mask.recipes.ial.region_data import RegionSample
from tag2mask.recipes.ial.regions import confident_labels, pool_regions, region_labels


@dataclass(frozen=True)
class StepOptimization(OptimizationBase):
    """An optimiser whose rates fall by steps; the fields of `OptimizationBase` and two more.

    lr_k = lr * gamma ** floor(k / S) (equation 11).

    Attributes:
        new_layer_factor: learning rate of new layers over `lr`; 1 here.
        lr_step: S, updates between two reductions of the rate.
        lr_gamma: factor of each reduction.

    Raises:
        UserError: a value lies outside its range.
    """

    new_layer_factor: float = 1.0
    lr_step: int = 20000
    lr_gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lr_step < 1:
            raise UserError(f"optimization.lr_step must be at least 1, got {self.lr_step}")
        if not 0 < self.lr_gamma <= 1:
            raise UserError(f"optimization.lr_gamma must be above 0 and at most 1, got {self.lr_gamma}")

    def schedule(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """Equation 11; the length of the training does not matter."""
        return LambdaLR(optimizer, lambda k: self.lr_gamma ** (k // self.lr_step))


class RegionClassifier(Predictor, TrainableNetwork):
    """Images and superpixels -> a class per superpixel: backbone, mask pooling, fully connected layers.

    Trains with cross-entropy (equation 9) on the superpixels of which nearly all pixels have one
    label in the unary result; then all superpixels are predicted, and the confident ones are the
    mined regions. Rates fall by steps (equation 11).

    Args:
        num_classes: number of foreground classes K; set from the data.
        backbone: what the network is built on.
        optimization: optimiser, rates and how they fall.
        tap: map of the backbone that is pooled; null takes the last before the classifier's own layers,
            conv5_3 of VGG16.
        hidden: widths of the fully connected layers before the classifier; empty for none.
        dropout: after each of them.
        share: more than this share of a superpixel's pixels makes its label.
        confidence: a superpixel above this probability is a confident region.
        classes: tagged lets a region only become background or a tag of its image (the paper does
            not say); all allows every class.
    """

    kind = "labels"

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneSpec = BackboneSpec("vgg16"),
        optimization: StepOptimization = StepOptimization(lr=1e-3),
        tap: str | None = None,
        hidden: Sequence[int] = (4096, 4096),
        dropout: float = 0.5,
        share: float = 0.8,
        confidence: float = 0.7,
        classes: Literal["tagged", "all"] = "tagged",
    ) -> None:
        super().__init__(num_classes, optimization)
        if not (0 <= share < 1 and 0 <= confidence < 1):
            raise UserError(f"share and confidence must lie in 0..1, got {share} and {confidence}")
        self.share = share
        self.confidence = confidence
        self.only_tagged = classes == "tagged"
        self.backbone = backbone.build()
        self.tap = tap or [name for name in self.backbone.taps if name != "out"][-1]
        if self.tap not in self.backbone.taps:
            raise unknown_name(f"tap of {backbone.name}", self.tap, self.backbone.taps)
        width = self.backbone.taps[self.tap].channels
        self.backbone.use_only([self.tap])
        self.head = _fully_connected(width, hidden, num_classes + 1, dropout)

    def pretrained_parts(self) -> list[nn.Module]:
        """The backbone."""
        return [self.backbone]

    def new_parts(self) -> list[nn.Module]:
        """The fully connected layers."""
        return [self.head]

    def settings(self) -> dict[str, float]:
        """The confidence from which a region counts."""
        return {"confidence": self.confidence}

    def forward(self, image: Tensor, superpixels: Tensor) -> Tensor:
        """Logits (R, K + 1) of the superpixels (H, W) of one image (3, H, W), RGB 0..255."""
        features = self.backbone(image[None])[self.tap][0]
        logits: Tensor = self.head(pool_regions(features.float(), superpixels))
        return logits.float()

    def training_step(self, batch: list[RegionSample], batch_index: int) -> Tensor:
        """Mean cross-entropy over the samples among all superpixels of a few images; 0 without any."""
        logits = torch.cat([self(sample["image"], sample["superpixels"]) for sample in batch])
        labels = torch.cat(
            [region_labels(s["superpixels"], s["label"], self.num_classes, self.share) for s in batch]
        )
        samples = labels != IGNORE
        loss = known_cross_entropy(logits, labels)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        share = mean_over_processes(samples.sum().float(), samples.numel())
        self.log("train/regions", share, batch_size=len(batch))
        return loss

    def predict_image(self, sample: RegionSample) -> LabelsResult:  # type: ignore[override]
        """The confident regions of an image: 0..K, elsewhere 255; confidence of all regions."""
        probabilities = self(sample["image"], sample["superpixels"]).float().softmax(1)
        allowed = torch.cat([sample["tags"].new_ones(1), sample["tags"]]) > 0 if self.only_tagged else None
        labels, best = confident_labels(probabilities, sample["superpixels"], self.confidence, allowed)
        return LabelsResult(
            sample["id"], {"": labels.cpu().numpy().astype(np.uint8)}, best.cpu().numpy().astype(np.float32)
        )


def _fully_connected(width: int, hidden: Sequence[int], outputs: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU(), nn.Dropout(dropout)]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, outputs))
