"""Stage 1: a multi-label classifier whose weights give class activation maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MultilabelAveragePrecision, MultilabelF1Score

from tag2mask.backbones import Backbone, build_backbone, fold_batchnorm
from tag2mask.core import ImageSample, ScoreMaps, TrainBatch
from tag2mask.heads import CAMHead
from tag2mask.metrics import ThresholdSweep
from tag2mask.modules.base import OptimizerFactory, Stage
from tag2mask.modules.predictor import Predictor
from tag2mask.ops import multi_scale_cam, normalise_cams

CAM_GRID = 8
"""Image pixels per cell of the stored maps, whatever the backbone's stride."""
PROBE_SIDE = 64
"""Side of the empty image that shows which layers of the backbone follow each other."""


class Classifier(Predictor, Stage):
    """Images -> class logits, and class activation maps of the tagged classes.

    Loss: multi-label soft margin. Prediction: maps of the present classes over scales and flips,
    ReLU, summed, divided by each map's maximum (Ahn and Kwak, CVPR 2018, equation 1 and its code).

    Args:
        num_classes: number of foreground classes K; set from the data.
        backbone: resnet38, vgg16 or any timm name.
        weights: imagenet, none, or the path of a weight file.
        output_stride: 8 or 16.
        frozen: parts of the backbone that do not train; null takes the architecture's default.
        freeze_batchnorm: keep batch-norm as pretrained.
        dropout: before the pooling.
        lr: see `Stage`; 0.01 for ResNet38, 0.1 for VGG16.
        weight_decay: see `Stage`.
        optimizer: see `Stage`. PSA's published rates belong to SGD practically without momentum.
        poly_power: see `Stage`.
        new_layer_factor: see `Stage`.
        scales: image sizes of the maps.
        flip: add the mirrored image at each scale.
        cam_threshold: fixed level above which a map counts as its class when maps are scored.
        cam_images: validation images with masks on which the maps are watched while training
            (scoring only); 0 for none.
    """

    kind = "maps"

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet38",
        weights: str = "imagenet",
        output_stride: int = 8,
        frozen: list[str] | None = None,
        freeze_batchnorm: bool = True,
        dropout: float = 0.5,
        lr: float = 0.01,
        weight_decay: float = 5e-4,
        optimizer: OptimizerFactory = torch.optim.SGD,
        poly_power: float = 0.9,
        new_layer_factor: float = 10.0,
        scales: Sequence[float] = (0.5, 1.0, 1.5, 2.0),
        flip: bool = True,
        cam_threshold: float = 0.2,
        cam_images: int = 24,
    ) -> None:
        super().__init__(num_classes, lr, weight_decay, optimizer, poly_power, new_layer_factor)
        self.backbone_name = backbone
        self.weights = weights
        self.output_stride = output_stride
        self.frozen = frozen
        self.freeze_batchnorm = freeze_batchnorm
        self.dropout = dropout
        self.scales = tuple(scales)
        self.flip = flip
        self.cam_threshold = cam_threshold
        self.cam_images = cam_images
        # A tuple, so that the copy is no submodule: it does not belong in a checkpoint.
        self._folded: tuple[Backbone, ...] = ()
        self.build()

    def configure_network(self) -> None:
        """Backbone and CAM head."""
        self.backbone = build_backbone(
            self.backbone_name,
            self.weights,
            self.output_stride,
            self.frozen,
            self.freeze_batchnorm,
            role="cam",
        )
        self.head = CAMHead(self.backbone.taps["out"].channels, self.num_classes, self.dropout)

    def configure_losses(self) -> None:
        """Multi-label soft margin, the mean over classes."""
        self.loss = nn.MultiLabelSoftMarginLoss()

    def configure_metrics(self) -> None:
        """Average precision and F1 per class, and a watch on the maps."""
        self.average_precision = MultilabelAveragePrecision(self.num_classes, average="none")
        self.f1 = MultilabelF1Score(self.num_classes, average="none")
        self.cam_sweep = ThresholdSweep(self.num_classes + 1, [t / 20 for t in range(1, 20)])

    def pretrained_parts(self) -> list[nn.Module]:
        """The backbone."""
        return [self.backbone]

    def new_parts(self) -> list[nn.Module]:
        """The CAM head."""
        return [self.head]

    def network_args(self) -> dict[str, Any]:
        """See `Stage.network_args`; weights come from the checkpoint itself."""
        return {
            "num_classes": self.num_classes,
            "backbone": self.backbone_name,
            "weights": "none",
            "output_stride": self.output_stride,
            "dropout": self.dropout,
            "scales": list(self.scales),
            "flip": self.flip,
        }

    def settings(self) -> dict[str, float]:
        """The fixed threshold at which the maps are scored."""
        return {"cam_threshold": self.cam_threshold}

    def forward(self, images: Tensor) -> Tensor:
        """Class logits (B, K) of images (B, 3, H, W), RGB 0..255."""
        logits: Tensor = self.head(self.backbone(images)["out"])
        return logits

    def cam(self, images: Tensor) -> Tensor:
        """Raw class maps (B, K, h, w) of images (B, 3, H, W), RGB 0..255, ready for the ReLU."""
        return self.as_cam(self.class_maps(self.cam_features(images)))

    def cam_features(self, images: Tensor) -> Tensor:
        """The backbone's last map (B, C, h, w) of images (B, 3, H, W), by its merged copy in prediction."""
        backbone = self._folded[0] if self._folded else self.backbone
        features: Tensor = backbone(images)["out"]
        return features

    def as_cam(self, maps: Tensor) -> Tensor:
        """Raw maps made ready for the ReLU."""
        # VGG16's maps peak where its removed pooling layers would have spread them.
        return maps.clamp(min=0).sqrt() if self.backbone.cam_sqrt else maps

    def class_maps(self, features: Tensor) -> Tensor:
        """Raw class maps (B, K, h, w) of backbone features (B, C, h, w)."""
        maps: Tensor = self.head.cam(features)
        return maps

    def training_step(self, batch: TrainBatch, batch_index: int) -> Tensor:
        """The classification loss of a batch of crops with the tags of their images."""
        loss: Tensor = self.loss(self(batch["image"]), batch["tags"])
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["image"]))
        return loss

    def validation_step(self, batch: list[ImageSample], batch_index: int) -> None:
        """Scores for the metrics; maps of the first images that have masks."""
        for offset, sample in enumerate(batch):
            features = self.backbone(sample["image"][None])["out"]
            scores = self.head(features).sigmoid()
            self.average_precision.update(scores, sample["tags"][None].long())
            self.f1.update(scores, sample["tags"][None].long())
            if "mask" in sample and batch_index * len(batch) + offset < self.cam_images:
                self._watch_maps(features, sample)

    def _watch_maps(self, features: Tensor, sample: ImageSample) -> None:
        present = sample["tags"].nonzero().flatten().tolist()
        size = sample["image"].shape[-2:]
        maps = F.interpolate(self.class_maps(features).float(), size, mode="bilinear", align_corners=False)
        chosen = normalise_cams(maps[0, present])
        self.cam_sweep.update(chosen, [k + 1 for k in present], sample["mask"])

    def on_validation_epoch_end(self) -> None:
        """Log mAP, F1 (mean and per class) and the quality of the watched maps."""
        names = self.classes.names if self.classes else [str(k) for k in range(self.num_classes)]
        for key, metric in (("mAP", self.average_precision), ("F1", self.f1)):
            # A class without a positive image has no average precision: it is left out of the mean.
            values = metric.compute()
            self.log(f"val/{key}", values[values.isfinite()].mean(), prog_bar=key == "mAP")
            self.log_dict({f"val/{key}/{n}": v for n, v in zip(names, values, strict=True)})
            metric.reset()
        if self.cam_sweep.update_called:
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
        height, width = image.shape[-2:]
        grid = (-(-height // CAM_GRID), -(-width // CAM_GRID))
        present = sample["tags"].nonzero().flatten().tolist()
        maps = self.summed_maps(image, grid)
        return ScoreMaps(
            sample["id"],
            normalise_cams(maps[present]).cpu().numpy(),
            [k + 1 for k in present],
            (height, width),
        )

    def summed_maps(self, image: Tensor, grid: tuple[int, int]) -> Tensor:
        """Maps (K, h, w) of the classes of an image, summed over its sizes and mirror images."""
        return self.over_scales(self.cam, image, grid)

    def over_scales(
        self, network: Callable[[Tensor], Tensor], image: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """The sum of a network's maps over the sizes and mirror images of this module."""
        return multi_scale_cam(network, image, self.scales, self.flip, grid)
