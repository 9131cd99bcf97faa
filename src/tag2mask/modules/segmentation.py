"""Stage 3: a segmentation model trained on pseudo-labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.artifacts.names import MULTI_SCALE, MULTI_SCALE_CRF, SINGLE_SCALE
from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.backbones import BackboneSpec
from tag2mask.core import ImageSample, LabelsResult, TrainBatch, UserError, map_threads
from tag2mask.heads import HeadSpec, MultiScaleMax, SmpSegmenter
from tag2mask.losses import EnergySpec, GeneralisedCrossEntropy, WeightedEnergy
from tag2mask.metrics import Confusion, TagF1
from tag2mask.modules.base import TrainableNetwork
from tag2mask.modules.inference import InferenceSpec
from tag2mask.modules.loading import load_backbone
from tag2mask.modules.optim import Optimization
from tag2mask.modules.predictor import Predictor, not_finite
from tag2mask.ops import dense_crf
from tag2mask.ops.lattice import CRF_SETS
from tag2mask.ops.sizes import image_size

SEEN = 0.01
"""Share of an image from which a predicted class counts as found, for the agreement with the tags."""


UNLIKELY = 0.05
"""Probability that a class must exceed somewhere in an image to take part in its CRF."""


class SegmentationModel(Predictor, TrainableNetwork):
    """Images -> class scores per pixel, trained with cross-entropy on labels from an earlier step.

    Args:
        num_classes: number of foreground classes K; set from the data.
        backbone: what the network is built on; with head smp:ARCH its name is an smp encoder.
        optimization: optimiser, rates and schedule.
        head: what turns features into class scores.
        start: weights starts the backbone from its weights, as the papers do; classifier from the
            network of `classifier_from`, which has learned the tags already and needs a shorter
            schedule.
        classifier_from: folder of the step that trained the classifier; only where start is classifier.
        test: how labels are predicted.
        robustness: how much less pixels count at the end whose label the network finds unlikely, 0..1: the q
            of `generalised_cross_entropy`, which grows from 0 over the training, for networks learn
            mistakes late. 0 is cross-entropy throughout, as in the papers.
        energy: the dense energy (RRM, Zhang et al. 2020, eq. 10 to 14) as a further loss, which acts on
            pixels without a label above all; with weight 0 there is none.
    """

    kind = "segmentation"
    taps_beside_head: Collection[str] = ()
    """Maps of the backbone that further heads of a subclass read."""
    without_start: ClassVar[Mapping[str, Any]] = {"start": "weights", "classifier_from": None}

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneSpec = BackboneSpec(),
        optimization: Optimization = Optimization(lr=1e-3),
        head: HeadSpec = HeadSpec(),
        start: Literal["weights", "classifier"] = "weights",
        classifier_from: StepFolder | None = None,
        test: InferenceSpec = InferenceSpec(),
        robustness: float = 0.0,
        energy: EnergySpec = EnergySpec(weight=0.0),
    ) -> None:
        super().__init__(num_classes, optimization)
        if not 0 <= robustness <= 1:
            raise UserError(f"robustness must lie in 0..1, got {robustness}")
        self.test = test
        self.variants = tuple(test.variants)
        if start == "classifier" and classifier_from is None:
            raise UserError("starting from a classifier needs its step: give model.init_args.classifier_from")
        self.network = self._build_network(backbone, head, classifier_from if start == "classifier" else None)
        self.robustness = robustness
        self.loss = GeneralisedCrossEntropy()
        self.energy = WeightedEnergy(energy) if energy.weight else None
        self.confusion = Confusion(num_classes + 1)
        # Agreement with the tags needs no mask.
        self.tag_f1 = TagF1(num_classes, average="micro")

    def _build_network(
        self, backbone: BackboneSpec, head: HeadSpec, classifier_from: StepFolder | None
    ) -> nn.Module:
        if head.architecture:
            if classifier_from is not None:
                raise UserError(f"head.name {head.name} has an encoder of its own: start must be weights")
            return SmpSegmenter(head.architecture, backbone.name, backbone.weights, self.num_classes)
        features = backbone.build("segmentation")
        if classifier_from is not None:
            load_backbone(features, classifier_from)
        return head.build(features, self.num_classes, self.taps_beside_head)

    def pretrained_parts(self) -> list[nn.Module]:
        """The backbone or encoder."""
        parts: list[nn.Module] = list(self.network.pretrained)  # type: ignore[arg-type]
        return parts

    def new_parts(self) -> list[nn.Module]:
        """The segmentation head."""
        parts: list[nn.Module] = list(self.network.new)  # type: ignore[arg-type]
        return parts

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K + 1, H, W) of images (B, 3, H, W), RGB 0..255."""
        logits: Tensor = self.network(images)
        return F.interpolate(logits.float(), images.shape[-2:], mode="bilinear", align_corners=False)

    def training_step(self, batch: TrainBatch, batch_index: int) -> Tensor:
        """The loss of a batch of crops; 0 for a batch without a labelled pixel."""
        label, size = batch["label"], batch["image"].shape[-2:]
        if self.robustness:
            self.loss.q = self.robustness * min(1.0, self.global_step / self.schedule_steps())
        outputs = self._outputs(batch["image"])
        outputs = [F.interpolate(m.float(), size, mode="bilinear", align_corners=False) for m in outputs]
        loss = torch.stack([self.loss(m, label) for m in outputs]).sum()
        if self.energy is not None:
            # Of the last output alone, which is what the network answers.
            energy = self.energy(batch["image"], outputs[-1], label, batch["inside"])
            self.log("train/energy", energy, batch_size=len(label))
            loss = loss + energy
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
            labels = self.probabilities(sample["image"], (1.0,), flip=False).max(0).indices
            if "mask" in sample:
                self.confusion.update(labels, sample["mask"])
            if "tags" in sample:
                share = torch.bincount(labels.flatten(), minlength=self.num_classes + 1) / labels.numel()
                self.tag_f1.update((share[None, 1:] > SEEN).long(), sample["tags"][None].long())

    def on_validation_epoch_end(self) -> None:
        """Log mIoU (scoring only) and the F1 of predicted classes against tags."""
        if self.anywhere(self.confusion.update_called):
            self.log("val/miou", float(self.confusion.compute()), prog_bar=True)
            self.confusion.reset()
        if self.anywhere(self.tag_f1.update_called):
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
        if SINGLE_SCALE in self.variants:
            scores["single"] = self.probabilities(image, (1.0,), flip=False)
        if set(self.variants) & {MULTI_SCALE, MULTI_SCALE_CRF}:
            scores["multi"] = self.probabilities(image, self.test.scales, self.test.flip)
        return {name: value.float().cpu() for name, value in scores.items()}

    def at_test_size(self, image: Tensor, scale: float = 1.0) -> Tensor:
        """A batch (1, 3, h, w) of one image (3, H, W) in the size in which the network is tested."""
        sides = [int(side) for side in image.shape[-2:]]
        factor = scale * (self.test.long_side / max(sides) if self.test.long_side else 1.0)
        if factor == 1:
            return image[None].float()
        size = [max(1, round(side * factor)) for side in sides]
        return F.interpolate(image[None].float(), size, mode="bilinear", align_corners=False)

    def probabilities(self, image: Tensor, scales: Sequence[float], flip: bool) -> Tensor:
        """Class probabilities (K + 1, H, W) of an image (3, H, W), RGB 0..255.

        Args:
            image: the image.
            scales: sizes to average over, relative to the size that the network is tested at.
            flip: average over the mirror image of each size too.
        """
        size = image_size(image)
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
        if not all(bool(value.isfinite().all()) for value in scores.values()):
            raise not_finite(sample["id"])
        found = self._by_variant(sample["image"], scores)
        labels = {name: values.max(0).indices.numpy().astype(np.uint8) for name, values in found.items()}
        return LabelsResult(sample["id"], labels)

    def _by_variant(self, image: Tensor, scores: dict[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for variant in self.variants:
            values = scores["single" if variant == SINGLE_SCALE else "multi"]
            found[variant] = self._crf(image, values) if variant == MULTI_SCALE_CRF else values
        return found

    def _crf(self, image: Tensor, values: Tensor) -> Tensor:
        # A class that is unlikely everywhere cannot win after smoothing; leaving it out saves time.
        wins = (values == values.amax(0)).any(2).any(1)
        present = wins | (values.amax((1, 2)) > UNLIKELY)
        refined = torch.zeros_like(values)
        refined[present] = dense_crf(image, values[present], CRF_SETS[self.test.crf])
        return refined
