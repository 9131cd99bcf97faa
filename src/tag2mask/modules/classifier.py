"""Stage 1: a multi-label classifier whose weights give class activation maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.backbones import Backbone, BackboneSpec, fold_batchnorm
from tag2mask.core import ImageSample, ScoreMaps, TrainBatch, UserError, tag_indices
from tag2mask.core.alarms import ABOVE_CHANCE_METRIC, SPREAD_METRIC
from tag2mask.core.results import MAP_CELL
from tag2mask.heads import CAMHead
from tag2mask.losses import at_least_float32
from tag2mask.metrics import AboveChance, ScoreSpread, TagAveragePrecision, TagF1, ThresholdSweep
from tag2mask.modules.base import TrainableNetwork
from tag2mask.modules.optim import Optimization
from tag2mask.modules.predictor import Predictor
from tag2mask.ops import multi_scale_cam, normalise_cams
from tag2mask.ops.cam import maps_of
from tag2mask.ops.sizes import grid_of, image_size

PROBE_SIDE = 64
"""Side of the empty image that shows which layers of the backbone follow each other."""


@dataclass(frozen=True)
class CamSpec:
    """How class activation maps are made, and how they are watched.

    Attributes:
        scales: image sizes of the maps.
        flip: add the mirrored image at each scale.
        threshold: fixed level above which a map counts as its class when maps are scored.
        images: validation images with masks on which the maps are watched while training (scoring
            only); 0 for none.

    Raises:
        UserError: a value lies outside its range.
    """

    scales: Sequence[float] = (0.5, 1.0, 1.5, 2.0)
    flip: bool = True
    threshold: float = 0.2
    images: int = 24

    def __post_init__(self) -> None:
        if not self.scales or any(scale <= 0 for scale in self.scales):
            raise UserError(f"cam.scales must be numbers above 0, at least one, got {list(self.scales)}")
        if not 0 <= self.threshold <= 1:
            raise UserError(f"cam.threshold must lie in 0..1, got {self.threshold}")
        if self.images < 0:
            raise UserError(f"cam.images must be 0 or more, got {self.images}")


class Classifier(Predictor, TrainableNetwork):
    """Images -> class logits, and class activation maps of the tagged classes.

    Loss: multi-label soft margin. Prediction: maps of the present classes over scales and flips,
    ReLU, summed, divided by each map's maximum (Ahn and Kwak, CVPR 2018, equation 1 and its code).

    Args:
        num_classes: number of foreground classes K; set from the data.
        backbone: what the network is built on.
        optimization: optimiser and rates: lr 0.01 for ResNet38, 0.1 for VGG16. PSA's published rates
            belong to SGD practically without momentum.
        dropout: before the pooling.
        cam: how maps are made and watched.
    """

    kind = "maps"

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneSpec = BackboneSpec(),
        optimization: Optimization = Optimization(lr=0.01),
        dropout: float = 0.5,
        cam: CamSpec = CamSpec(),
    ) -> None:
        super().__init__(num_classes, optimization)
        self.cam_spec = cam
        self.backbone = backbone.build("cam")
        self.head = CAMHead(self.backbone.taps["out"].channels, num_classes, dropout)
        # A tuple, so that the copy is no submodule: it does not belong in a checkpoint.
        self._folded: tuple[Backbone, ...] = ()
        self.loss = nn.MultiLabelSoftMarginLoss()
        self.average_precision = TagAveragePrecision()
        self.f1 = TagF1(num_classes)
        self.above_chance = AboveChance()
        self.spread = ScoreSpread()
        self.cam_sweep = ThresholdSweep(num_classes + 1, [t / 20 for t in range(1, 20)])

    def pretrained_parts(self) -> list[nn.Module]:
        """The backbone."""
        return [self.backbone]

    def new_parts(self) -> list[nn.Module]:
        """The CAM head."""
        return [self.head]

    def settings(self) -> dict[str, float]:
        """The fixed threshold at which the maps are scored."""
        return {"cam_threshold": self.cam_spec.threshold}

    def forward(self, images: Tensor) -> Tensor:
        """Class logits (B, K) of images (B, 3, H, W), RGB 0..255."""
        logits: Tensor = self.head(self.backbone(images)["out"])
        return logits

    def cam(self, images: Tensor) -> Tensor:
        """Raw class maps (B, K, h, w) of images (B, 3, H, W), RGB 0..255, ready for the ReLU."""
        return self.as_cam(self.class_maps(self.cam_features(images)))

    def cam_features(self, images: Tensor) -> Tensor:
        """The backbone's last map (B, C, h, w) of images (B, 3, H, W)."""
        features: Tensor = self.predicting_backbone(images)["out"]
        return features

    @property
    def predicting_backbone(self) -> Backbone:
        """The backbone, or its merged copy in prediction."""
        return self._folded[0] if self._folded else self.backbone

    def normalised(self, maps: Tensor) -> Tensor:
        """Summed maps (M, h, w) of an image's tags as scores in 0..1."""
        return normalise_cams(maps)

    def as_cam(self, maps: Tensor) -> Tensor:
        """Raw maps made ready for the ReLU."""
        return self.backbone.as_cam(maps)

    def class_maps(self, features: Tensor) -> Tensor:
        """Raw class maps (B, K, h, w) of backbone features (B, C, h, w)."""
        maps: Tensor = self.head.cam(features)
        return maps

    def training_step(self, batch: TrainBatch, batch_index: int) -> Tensor:
        """The classification loss of a batch of crops with the tags of their images."""
        loss: Tensor = self.loss(at_least_float32(self(batch["image"])), batch["tags"])
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["image"]))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Give every process scores to share, also one that gets no image."""
        nothing = torch.zeros(0, self.num_classes, device=self.device)
        for metric in (self.average_precision, self.above_chance, self.spread):
            metric.update(nothing, nothing)

    def validation_step(self, batch: list[ImageSample], batch_index: int) -> None:
        """Scores for the metrics; maps of the first images that have masks."""
        for offset, sample in enumerate(batch):
            features = self.backbone(sample["image"][None])["out"]
            scores = self.head(features).sigmoid()
            for metric in (self.average_precision, self.f1, self.above_chance, self.spread):
                metric.update(scores, sample["tags"][None].long())
            if "mask" in sample and self.place(batch_index * len(batch) + offset) < self.cam_spec.images:
                self._watch_maps(features, sample)

    def _watch_maps(self, features: Tensor, sample: ImageSample) -> None:
        tagged = tag_indices(sample["tags"])
        size = sample["image"].shape[-2:]
        maps = F.interpolate(self.class_maps(features).float(), size, mode="bilinear", align_corners=False)
        self.cam_sweep.update(self.normalised(maps_of(maps[0], tagged)), tagged, sample["mask"])

    def on_validation_epoch_end(self) -> None:
        """Log mAP, F1 (mean and per class) and the quality of the watched maps."""
        names = self.classes.names if self.classes else [str(k) for k in range(self.num_classes)]
        for key, metric in (("mAP", self.average_precision), ("F1", self.f1)):
            # A class of no image, or of all, has no order: it is left out of the mean.
            values = metric.compute().flatten()
            self.log(f"val/{key}", values[values.isfinite()].mean(), prog_bar=key == "mAP")
            self.log_dict({f"val/{key}/{n}": v for n, v in zip(names, values, strict=True)})
            metric.reset()
        self.log_dict(
            {ABOVE_CHANCE_METRIC: self.above_chance.compute(), SPREAD_METRIC: self.spread.compute()}
        )
        self.above_chance.reset()
        self.spread.reset()
        if self.anywhere(self.cam_sweep.update_called):
            threshold, miou = self.cam_sweep.best()
            self.log_dict({"val/cam_best_miou": miou, "val/cam_best_threshold": threshold})
            self.cam_sweep.reset()

    def on_predict_start(self) -> None:
        """Merge batch normalisation into the convolutions of a copy: the same maps in less time."""
        example = torch.zeros(1, 3, PROBE_SIDE, PROBE_SIDE, device=self.device)
        self._folded = (fold_batchnorm(self.backbone, example),)

    def on_predict_end(self) -> None:
        """Drop the copy."""
        self._folded = ()

    def predict_image(self, sample: ImageSample) -> ScoreMaps:
        """Normalised multi-scale maps of the tagged classes of an image."""
        image = sample["image"]
        size = image_size(image)
        tagged = tag_indices(sample["tags"])
        maps = maps_of(self.summed_maps(image, grid_of(size, MAP_CELL)), tagged)
        return ScoreMaps(sample["id"], self.normalised(maps).cpu().numpy(), tagged, size)

    def summed_maps(self, image: Tensor, grid: tuple[int, int]) -> Tensor:
        """Maps (K, h, w) of the classes of an image, summed over its sizes and mirror images."""
        return self.over_scales(self.cam, image, grid)

    def over_scales(
        self, network: Callable[[Tensor], Tensor], image: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """The sum of a network's maps over the sizes and mirror images of this module."""
        return multi_scale_cam(network, image, self.cam_spec.scales, self.cam_spec.flip, grid)
