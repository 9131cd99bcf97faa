"""The network that gives each superpixel a class and a confidence (Wang et al. 2020, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from tag2mask.backbones import build_backbone
from tag2mask.core import IGNORE, LabelsResult, UserError, unknown_name
from tag2mask.modules import Predictor, Stage
from tag2mask.modules.base import OptimizerFactory
from tag2mask.modules.optim import parameter_groups
from tag2mask.recipes.ial.region_data import RegionSample
from tag2mask.recipes.ial.regions import confident_labels, pool_regions, region_labels


class RegionClassifier(Predictor, Stage):
    """Images and superpixels -> a class per superpixel: backbone, mask pooling, fully connected layers.

    Trains with cross-entropy (equation 9) on the superpixels of which nearly all pixels have one
    label in the unary result; then all superpixels are predicted, and the confident ones are the
    mined regions. Rates fall by steps (equation 11).

    Args:
        num_classes: number of foreground classes K; set from the data.
        backbone: vgg16, resnet38 or any timm name.
        weights: imagenet, none, or the path of a weight file.
        output_stride: 8 or 16.
        frozen: parts of the backbone that do not train; null takes the architecture's default.
        freeze_batchnorm: keep batch-norm as pretrained.
        tap: map of the backbone that is pooled; null takes the last before the classifier's own layers,
            conv5_3 of VGG16.
        hidden: widths of the fully connected layers before the classifier; empty for none.
        dropout: after each of them.
        share: more than this share of a superpixel's pixels makes its label.
        confidence: a superpixel above this probability is a confident region.
        classes: tagged lets a region only become background or a tag of its image (the paper does
            not say); all allows every class.
        lr: see `Stage`.
        weight_decay: see `Stage`.
        optimizer: see `Stage`.
        new_layer_factor: see `Stage`.
        lr_step: updates between two reductions of the rate.
        lr_gamma: factor of each reduction.
    """

    kind = "labels"

    def __init__(
        self,
        num_classes: int,
        backbone: str = "vgg16",
        weights: str = "imagenet",
        output_stride: int = 8,
        frozen: list[str] | None = None,
        freeze_batchnorm: bool = True,
        tap: str | None = None,
        hidden: Sequence[int] = (4096, 4096),
        dropout: float = 0.5,
        share: float = 0.8,
        confidence: float = 0.7,
        classes: Literal["tagged", "all"] = "tagged",
        lr: float = 1e-3,
        weight_decay: float = 5e-4,
        optimizer: OptimizerFactory = torch.optim.SGD,
        new_layer_factor: float = 1.0,
        lr_step: int = 20000,
        lr_gamma: float = 0.1,
    ) -> None:
        super().__init__(num_classes, lr, weight_decay, optimizer, new_layer_factor=new_layer_factor)
        if not (0 <= share < 1 and 0 <= confidence < 1):
            raise UserError(f"share and confidence must lie in 0..1, got {share} and {confidence}")
        if lr_step < 1:
            raise UserError(f"lr_step must be at least 1, got {lr_step}")
        self.backbone_name = backbone
        self.weights = weights
        self.output_stride = output_stride
        self.frozen = frozen
        self.freeze_batchnorm = freeze_batchnorm
        self.tap_name = tap
        self.hidden = tuple(hidden)
        self.dropout = dropout
        self.share = share
        self.confidence = confidence
        self.only_tagged = classes == "tagged"
        self.lr_step = lr_step
        self.lr_gamma = lr_gamma
        self.build()

    def configure_network(self) -> None:
        """Backbone and fully connected layers."""
        self.backbone = build_backbone(
            self.backbone_name, self.weights, self.output_stride, self.frozen, self.freeze_batchnorm
        )
        self.tap = self.tap_name or [name for name in self.backbone.taps if name != "out"][-1]
        if self.tap not in self.backbone.taps:
            raise unknown_name(f"tap of {self.backbone_name}", self.tap, self.backbone.taps)
        width = self.backbone.taps[self.tap].channels
        self.backbone.use_only([self.tap])
        layers: list[nn.Module] = []
        for size in self.hidden:
            layers += [nn.Linear(width, size), nn.ReLU(), nn.Dropout(self.dropout)]
            width = size
        self.head = nn.Sequential(*layers, nn.Linear(width, self.num_classes + 1))

    def pretrained_parts(self) -> list[nn.Module]:
        """The backbone."""
        return [self.backbone]

    def new_parts(self) -> list[nn.Module]:
        """The fully connected layers."""
        return [self.head]

    def network_args(self) -> dict[str, Any]:
        """See `Stage.network_args`."""
        return {
            "num_classes": self.num_classes,
            "backbone": self.backbone_name,
            "weights": "none",
            "output_stride": self.output_stride,
            "tap": self.tap,
            "hidden": list(self.hidden),
        }

    def settings(self) -> dict[str, float]:
        """The confidence from which a region counts."""
        return {"confidence": self.confidence}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The usual parameter groups with lr_k = lr * gamma ** floor(k / S) (equation 11)."""
        groups = parameter_groups(
            self.pretrained_parts(), self.new_parts(), self.lr, self.weight_decay, self.new_layer_factor
        )
        optimizer = self.optimizer_factory(groups)
        schedule = LambdaLR(optimizer, lambda k: self.lr_gamma ** (k // self.lr_step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def forward(self, image: Tensor, superpixels: Tensor) -> Tensor:
        """Logits (R, K + 1) of the superpixels (H, W) of one image (3, H, W), RGB 0..255."""
        features = self.backbone(image[None])[self.tap][0]
        logits: Tensor = self.head(pool_regions(features.float(), superpixels))
        return logits

    def training_step(self, batch: list[RegionSample], batch_index: int) -> Tensor:
        """Mean cross-entropy over the samples among all superpixels of a few images; 0 without any."""
        logits = torch.cat([self(sample["image"], sample["superpixels"]) for sample in batch])
        labels = torch.cat(
            [region_labels(s["superpixels"], s["label"], self.num_classes, self.share) for s in batch]
        )
        samples = labels != IGNORE
        # The mean over no region would be NaN and would poison the weights.
        loss = F.cross_entropy(logits[samples], labels[samples]) if samples.any() else logits.sum() * 0
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        self.log("train/regions", samples.float().mean(), batch_size=len(batch))
        return loss

    def predict_image(self, sample: RegionSample) -> LabelsResult:  # type: ignore[override]
        """The confident regions of an image: 0..K, elsewhere 255; confidence of all regions."""
        probabilities = self(sample["image"], sample["superpixels"]).float().softmax(1)
        allowed = torch.cat([sample["tags"].new_ones(1), sample["tags"]]) > 0 if self.only_tagged else None
        labels, best = confident_labels(probabilities, sample["superpixels"], self.confidence, allowed)
        return LabelsResult(
            sample["id"], {"": labels.cpu().numpy().astype(np.uint8)}, best.cpu().numpy().astype(np.float32)
        )
