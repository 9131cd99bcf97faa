"""Stage 3: a segmentation model trained on pseudo-labels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MultilabelF1Score

from tag2mask.artifacts import VARIANTS
from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.backbones import build_backbone
from tag2mask.core import IGNORE, ImageSample, LabelsResult, TrainBatch, UserError, map_threads, unknown_name
from tag2mask.heads import MultiScaleMax, SmpSegmenter, build_segmenter
from tag2mask.metrics import Confusion
from tag2mask.modules.base import OptimizerFactory, Stage, load_backbone
from tag2mask.modules.predictor import Predictor
from tag2mask.modules.refinements import CRF_SETS
from tag2mask.ops import dense_crf

SEEN = 0.01
"""Share of an image from which a predicted class counts as found, for the agreement with the tags."""


UNLIKELY = 0.05
"""Probability that a class must exceed somewhere in an image to take part in its CRF."""


class SegmentationModel(Predictor, Stage):
    """Images -> class scores per pixel, trained with cross-entropy on labels from an earlier step.

    Args:
        num_classes: number of foreground classes K; set from the data.
        head: resnet38, largefov, deeplabv2 or deeplabv3plus on `backbone`; or smp:ARCH for a
            segmentation-models-pytorch architecture with `backbone` as its encoder name.
        head_channels: width of the deeplabv3plus decoder; null takes the paper's 256.
        backbone: resnet38, vgg16, any timm name; with smp:ARCH an smp encoder.
        weights: imagenet, none, or the path of a weight file.
        start: weights starts the backbone from `weights`, as the papers do; classifier from the
            network of `classifier_from`, which has learned the tags already and needs a shorter
            schedule.
        classifier_from: folder of the step that trained the classifier; only where start is classifier.
        output_stride: 8 or 16.
        frozen: parts of the backbone that do not train; null takes the architecture's default.
        freeze_batchnorm: keep the backbone's batch-norm as pretrained.
        lr: see `Stage`.
        weight_decay: see `Stage`.
        optimizer: see `Stage`.
        poly_power: see `Stage`.
        new_layer_factor: see `Stage`.
        test_long_side: longer side in pixels that images are resized to for scale 1, so that objects
            have the size that training showed; null keeps images as they are.
        test_scales: image sizes of the multi-scale variants, relative to scale 1.
        test_flip: mirror each test scale too.
        crf: CRF parameter set of the last variant (cam, labels, dsrg or deeplab).
        variants: which of single_scale, multi_scale and multi_scale_crf to predict.
        msc_scales: further image sizes whose logits join those of size 1 by their maximum, in training (a
            loss for each and for the maximum) and in every pass of a test: DeepLab v2's MSC, [0.5, 0.75].
            null for none.
    """

    kind = "segmentation"
    taps_beside_head: Collection[str] = ()
    """Maps of the backbone that further heads of a subclass read."""

    def __init__(
        self,
        num_classes: int,
        head: str = "resnet38",
        head_channels: int | None = None,
        backbone: str = "resnet38",
        weights: str = "imagenet",
        start: Literal["weights", "classifier"] = "weights",
        classifier_from: StepFolder | None = None,
        output_stride: int = 8,
        frozen: list[str] | None = None,
        freeze_batchnorm: bool = True,
        lr: float = 1e-3,
        weight_decay: float = 5e-4,
        optimizer: OptimizerFactory = torch.optim.SGD,
        poly_power: float = 0.9,
        new_layer_factor: float = 10.0,
        test_long_side: int | None = None,
        test_scales: Sequence[float] = (0.5, 0.75, 1.0, 1.25, 1.5),
        test_flip: bool = True,
        crf: str = "deeplab",
        variants: Sequence[str] = VARIANTS,
        msc_scales: Sequence[float] | None = None,
    ) -> None:
        super().__init__(num_classes, lr, weight_decay, optimizer, poly_power, new_layer_factor)
        for name in variants:
            if name not in VARIANTS:
                raise unknown_name("prediction variant", name, VARIANTS)
        if crf not in CRF_SETS:
            raise unknown_name("CRF parameter set", crf, CRF_SETS)
        if not variants or any(s <= 0 for s in test_scales):
            raise UserError("segmentation needs at least one variant, and test_scales above 0")
        if test_long_side is not None and test_long_side < 32:
            raise UserError(f"test_long_side must be at least 32 pixels or null, got {test_long_side}")
        self.head_name = head
        self.head_channels = head_channels
        self.msc_scales = list(msc_scales) if msc_scales else None
        self.backbone_name = backbone
        self.weights = weights
        self.start = start
        self.classifier_from = classifier_from
        self.output_stride = output_stride
        self.frozen = frozen
        self.freeze_batchnorm = freeze_batchnorm
        self.test_long_side = test_long_side
        self.test_scales = tuple(test_scales)
        self.test_flip = test_flip
        self.crf = crf
        self.variants = tuple(variants)
        self.build()

    def configure_network(self) -> None:
        """The segmentation network."""
        if self.head_name.startswith("smp:"):
            if self.start == "classifier":
                raise UserError(f"head {self.head_name} has an encoder of its own: start must be weights")
            if self.msc_scales:
                raise UserError(f"msc_scales is not for head {self.head_name}: leave it out")
            arch = self.head_name.removeprefix("smp:")
            self.network: nn.Module = SmpSegmenter(arch, self.backbone_name, self.weights, self.num_classes)
            return
        backbone = build_backbone(
            self.backbone_name,
            self.weights,
            self.output_stride,
            self.frozen,
            self.freeze_batchnorm,
            role="segmentation",
        )
        if self.start == "classifier":
            load_backbone(backbone, self.classifier_from)
        segmenter = build_segmenter(
            self.head_name, backbone, self.num_classes, self.head_channels, self.taps_beside_head
        )
        self.network = MultiScaleMax(segmenter, self.msc_scales) if self.msc_scales else segmenter

    def configure_losses(self) -> None:
        """Cross-entropy over labelled pixels."""
        self.loss = nn.CrossEntropyLoss(ignore_index=IGNORE)

    def configure_metrics(self) -> None:
        """The mIoU where masks exist, and agreement with the tags, which needs none."""
        self.confusion = Confusion(self.num_classes + 1)
        self.tag_f1 = MultilabelF1Score(self.num_classes, average="micro")

    def pretrained_parts(self) -> list[nn.Module]:
        """The backbone or encoder."""
        parts: list[nn.Module] = list(self.network.pretrained)  # type: ignore[arg-type]
        return parts

    def new_parts(self) -> list[nn.Module]:
        """The segmentation head."""
        parts: list[nn.Module] = list(self.network.new)  # type: ignore[arg-type]
        return parts

    def network_args(self) -> dict[str, Any]:
        """See `Stage.network_args`."""
        return {
            "num_classes": self.num_classes,
            "head": self.head_name,
            "head_channels": self.head_channels,
            "msc_scales": self.msc_scales,
            "backbone": self.backbone_name,
            "weights": "none",
            "output_stride": self.output_stride,
            "test_long_side": self.test_long_side,
            "test_scales": list(self.test_scales),
            "test_flip": self.test_flip,
            "crf": self.crf,
        }

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K + 1, H, W) of images (B, 3, H, W), RGB 0..255."""
        logits: Tensor = self.network(images)
        return F.interpolate(logits.float(), images.shape[-2:], mode="bilinear", align_corners=False)

    def training_step(self, batch: TrainBatch, batch_index: int) -> Tensor:
        """Cross-entropy of a batch of crops; 0 for a batch without a labelled pixel."""
        label, size = batch["label"], batch["image"].shape[-2:]
        outputs = self._outputs(batch["image"])
        outputs = [F.interpolate(m.float(), size, mode="bilinear", align_corners=False) for m in outputs]
        # The mean over no pixel would be NaN and would poison the weights.
        known = bool((label != IGNORE).any())
        loss = torch.stack([self.loss(m, label) if known else m.sum() * 0 for m in outputs]).sum()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(label))
        return loss

    def _outputs(self, images: Tensor) -> list[Tensor]:
        """Logits that get a loss: one map, or with MSC one for each size and their maximum."""
        if isinstance(self.network, MultiScaleMax):
            return self.network.all_logits(images)
        return [self.network(images)]

    def validation_step(self, batch: list[ImageSample], batch_index: int) -> None:
        """Count pixels against masks, and predicted classes against tags."""
        for sample in batch:
            labels = self._probabilities(sample["image"], (1.0,), flip=False).max(0).indices
            if "mask" in sample:
                self.confusion.update(labels, sample["mask"])
            if "tags" in sample:
                share = torch.bincount(labels.flatten(), minlength=self.num_classes + 1) / labels.numel()
                self.tag_f1.update((share[None, 1:] > SEEN).long(), sample["tags"][None].long())

    def on_validation_epoch_end(self) -> None:
        """Log mIoU (scoring only) and the F1 of predicted classes against tags."""
        if self.confusion.update_called:
            self.log("val/miou", float(self.confusion.compute()), prog_bar=True)
            self.confusion.reset()
        if self.tag_f1.update_called:
            self.log("val/tag_f1", self.tag_f1.compute(), prog_bar=True)
            self.tag_f1.reset()

    @property
    def done_folder(self) -> str:
        """The last variant."""
        return self.variants[-1]

    def predict_image(self, sample: ImageSample) -> Any:
        """Label maps of an image, one per variant."""
        return self._result(sample, self.variant_scores(sample["image"]))

    def predict_images(self, samples: Sequence[ImageSample]) -> list[Any]:
        """Label maps of some images: the network in turn, the CRFs in threads."""
        scores = [self.variant_scores(sample["image"]) for sample in samples]
        return map_threads(lambda pair: self._result(*pair), zip(samples, scores, strict=True))

    def variant_scores(self, image: Tensor) -> dict[str, Tensor]:
        """Class probabilities (K + 1, H, W) of an image (3, H, W) by passes: ``single``, ``multi``."""
        scores = {}
        if "single_scale" in self.variants:
            scores["single"] = self._probabilities(image, (1.0,), flip=False)
        if set(self.variants) & {"multi_scale", "multi_scale_crf"}:
            scores["multi"] = self._probabilities(image, self.test_scales, self.test_flip)
        return {name: value.float().cpu() for name, value in scores.items()}

    def at_test_size(self, image: Tensor, scale: float = 1.0) -> Tensor:
        """A batch (1, 3, h, w) of one image (3, H, W) in the size in which the network is tested."""
        sides = [int(side) for side in image.shape[-2:]]
        factor = scale * (self.test_long_side / max(sides) if self.test_long_side else 1.0)
        if factor == 1:
            return image[None].float()
        size = [max(1, round(side * factor)) for side in sides]
        return F.interpolate(image[None].float(), size, mode="bilinear", align_corners=False)

    def _probabilities(self, image: Tensor, scales: Sequence[float], flip: bool) -> Tensor:
        size = (int(image.shape[-2]), int(image.shape[-1]))
        total = torch.zeros(self.num_classes + 1, *size, device=image.device)
        for scale in scales:
            batch = self.at_test_size(image, scale)
            for mirrored in (False, True) if flip else (False,):
                logits = self.network(batch.flip(3) if mirrored else batch).float()
                logits = logits.flip(3) if mirrored else logits
                total += F.interpolate(logits, size, mode="bilinear", align_corners=False).softmax(1)[0]
        return total / (len(scales) * (2 if flip else 1))

    def scores(self, image: Tensor) -> dict[str, Tensor]:
        """Class probabilities (K + 1, H, W) of an image (3, H, W), for each of the variants."""
        return self._by_variant(image, self.variant_scores(image))

    def _result(self, sample: ImageSample, scores: dict[str, Tensor]) -> LabelsResult:
        found = self._by_variant(sample["image"], scores)
        labels = {name: values.max(0).indices.numpy().astype(np.uint8) for name, values in found.items()}
        return LabelsResult(sample["id"], labels)

    def _by_variant(self, image: Tensor, scores: dict[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for variant in self.variants:
            values = scores["single" if variant == "single_scale" else "multi"]
            found[variant] = self._crf(image, values) if variant == "multi_scale_crf" else values
        return found

    def _crf(self, image: Tensor, values: Tensor) -> Tensor:
        # A class that is unlikely everywhere cannot win after smoothing; leaving it out saves time.
        wins = (values == values.amax(0)).any(2).any(1)
        present = wins | (values.amax((1, 2)) > UNLIKELY)
        refined = torch.zeros_like(values)
        refined[present] = dense_crf(image, values[present], CRF_SETS[self.crf])
        return refined
