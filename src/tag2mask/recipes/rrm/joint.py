"""One network that classifies and segments, and mines the labels it learns to segment from."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.backbones import Backbone, BackboneSpec
from tag2mask.core import IGNORE, TrainBatch, tag_indices, thread_pool
from tag2mask.heads import CAMHead, HeadSpec
from tag2mask.losses import EnergySpec, at_least_float32, mean_over_processes, mean_where
from tag2mask.modules import Classifier, InferenceSpec, SegmentationModel, load_network
from tag2mask.ops.cam import maps_of
from tag2mask.recipes.rrm.classification import ClassificationSpec
from tag2mask.recipes.rrm.mining import Labels, RegionMining, reliable_labels
from tag2mask.recipes.rrm.schedule import JointOptimization


class JointModel(SegmentationModel):
    """RRM (Zhang et al., AAAI 2020): L = L_class + L_background + L_foreground + weight * L_energy.

    Class activation maps of each crop at several sizes and two CRFs give labels for its reliable
    pixels; the segmentation branch learns from them with one cross-entropy over background and one over
    foreground, and from all pixels with the dense energy. Nothing flows back through the maps.

    Args:
        num_classes: number of foreground classes K; set from the data.
        backbone: see `SegmentationModel`.
        optimization: optimiser, rates, and the share of the training that classifies only.
        head: see `SegmentationModel`.
        start: see `SegmentationModel`.
        classifier_from: see `SegmentationModel`.
        test: see `SegmentationModel`.
        mining: what counts as reliable.
        energy: see `SegmentationModel`.
        classification: the classification branch.
    """

    taps_beside_head = ("out",)
    optimization: JointOptimization

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneSpec = BackboneSpec(),
        optimization: JointOptimization = JointOptimization(lr=1e-3),
        head: HeadSpec = HeadSpec(),
        start: Literal["weights", "classifier"] = "weights",
        classifier_from: StepFolder | None = None,
        test: InferenceSpec = InferenceSpec(),
        mining: RegionMining = RegionMining(),
        energy: EnergySpec = EnergySpec(),
        classification: ClassificationSpec = ClassificationSpec(),
    ) -> None:
        head.require_features("shares no features with a classifier")
        super().__init__(
            num_classes, backbone, optimization, head, start, classifier_from, test, energy=energy
        )
        self.mining = mining
        self.cam_scales = tuple(float(scale) for scale in classification.cam_scales)
        self._class_head_is_new = classification.rate == "new"
        channels = self.backbone.taps["out"].channels
        self.class_head = CAMHead(channels, num_classes, classification.dropout)
        self.class_loss = nn.MultiLabelSoftMarginLoss()
        if start == "classifier" and classifier_from is not None:
            self._start_class_head(classifier_from)

    def _start_class_head(self, classifier_from: StepFolder) -> None:
        # The labels come from its maps: with random weights the first of them would be noise.
        trained = load_network(classifier_from, Classifier)
        self.class_head.load_state_dict(trained.head.state_dict())

    @property
    def backbone(self) -> Backbone:
        """The features of both branches."""
        backbone: Backbone = self.network.backbone  # type: ignore[assignment]
        return backbone

    def pretrained_parts(self) -> list[nn.Module]:
        """The backbone, and the class head if it learns with its rate."""
        parts = super().pretrained_parts()
        return parts if self._class_head_is_new else [*parts, self.class_head]

    def new_parts(self) -> list[nn.Module]:
        """The segmentation head, and the class head if it learns with its rate."""
        parts = super().new_parts()
        return [*parts, self.class_head] if self._class_head_is_new else parts

    def settings(self) -> dict[str, float]:
        """The mined ratio."""
        return {"mined_ratio": self.mining.ratio}

    def _first_steps(self) -> int:
        return self.optimization.first_steps(self.schedule_steps()) if self.optimization.classify_only else 0

    def training_step(self, batch: TrainBatch, batch_index: int) -> Tensor:
        """All losses of a batch of crops."""
        images, tags, inside = batch["image"], batch["tags"], batch["inside"]
        head: nn.Module = self.network.head  # type: ignore[assignment]
        features = self.backbone(images)
        parts = {"class": self.class_loss(at_least_float32(self.class_head(features["out"])), tags)}
        segments = self.global_step >= self._first_steps()
        if segments:
            cams = self.mean_cams(images, features["out"])
            with thread_pool() as pool:
                jobs = self._start_mining(pool, images, cams, tags)
                logits = head(features)  # while the CRFs run
                labels = self._mined(jobs, inside)
            parts |= self._segmentation_losses(images, logits, labels, inside)
            share = mean_over_processes((labels != IGNORE).sum().float(), inside.sum())
            self.log("train/mined", share, batch_size=len(images))
        for name, value in parts.items():
            self.log(f"train/{name}", value, batch_size=len(images))
        loss = torch.stack(list(parts.values())).sum()
        if not segments:
            # DDP waits for the gradient of every trained parameter.
            loss = loss + head(features).sum() * 0
        self.log("train/loss", loss, prog_bar=True, batch_size=len(images))
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Keep weight decay off a branch that does not train yet."""
        if self.global_step < self._first_steps():
            for parameter in self.network.head.parameters():  # type: ignore[union-attr]
                parameter.grad = None

    @torch.no_grad()
    def mean_cams(self, images: Tensor, features: Tensor) -> Tensor:
        """Maps (B, K, H, W): the mean of `sized_cams`, enlarged to the crop."""
        mean = self.sized_cams(images, features).mean(0)
        return F.interpolate(mean, images.shape[-2:], mode="bilinear", align_corners=False)

    @torch.no_grad()
    def sized_cams(self, images: Tensor, features: Tensor) -> Tensor:
        """Maps (S, B, K, h, w) of the crop at each of `cam_scales`: ReLU, then on the grid of size 1."""
        grid = features.shape[-2:]
        # These passes only look: no dropout, and no trace in batch-norm that trains.
        self.backbone.eval()
        maps = [
            self._cam(features if scale == 1 else self._look(_resized(images, scale)))
            for scale in self.cam_scales
        ]
        self.backbone.train(self.training)
        return torch.stack([F.interpolate(m, grid, mode="bilinear", align_corners=False) for m in maps])

    def _look(self, images: Tensor) -> Tensor:
        # A batch of enlarged crops does not fit a CPU's cache; one at a time does, and is faster.
        parts = torch.split(images, 1 if images.device.type == "cpu" else len(images))
        return torch.cat([self.backbone(part)["out"] for part in parts])

    def _cam(self, features: Tensor) -> Tensor:
        maps: Tensor = self.class_head.cam(features)
        return self.backbone.as_cam(maps.float()).relu()

    def _start_mining(
        self, pool: ThreadPoolExecutor, images: Tensor, cams: Tensor, tags: Tensor
    ) -> list[Future[Labels]]:
        pixels = images.to("cpu", torch.uint8).numpy()
        maps = cams.cpu().numpy()
        jobs = []
        for image, cam, tag in zip(pixels, maps, tags.cpu(), strict=True):
            tagged = tag_indices(tag)
            jobs.append(pool.submit(reliable_labels, image, maps_of(cam, tagged), tagged, self.mining))
        return jobs

    @staticmethod
    def _mined(jobs: Sequence[Future[Labels]], inside: Tensor) -> Tensor:
        labels = torch.from_numpy(np.stack([job.result() for job in jobs])).long().to(inside.device)
        return labels.masked_fill(~inside, IGNORE)

    def _segmentation_losses(
        self, images: Tensor, logits: Tensor, labels: Tensor, inside: Tensor
    ) -> dict[str, Tensor]:
        full = F.interpolate(logits.float(), labels.shape[-2:], mode="bilinear", align_corners=False)
        pixels = F.cross_entropy(full, labels, ignore_index=IGNORE, reduction="none")
        foreground = (labels > 0) & (labels != IGNORE)
        losses = {
            "background": mean_where(pixels, labels == 0),
            "foreground": mean_where(pixels, foreground),
        }
        if self.energy is not None:
            losses["energy"] = self.energy(images, full, labels, inside)
        return losses


def _resized(images: Tensor, scale: float) -> Tensor:
    size = [max(1, round(side * scale)) for side in images.shape[-2:]]
    return F.interpolate(images.float(), size, mode="bilinear", align_corners=False)
