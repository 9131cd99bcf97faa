"""One network that classifies and segments, and mines the labels it learns to segment from."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from tag2mask.core import IGNORE, TrainBatch, UserError, thread_pool
from tag2mask.heads import CAMHead
from tag2mask.losses import DenseEnergyLoss
from tag2mask.modules import Classifier, SegmentationModel, load_network
from tag2mask.recipes.rrm.mining import Labels, RegionMining, reliable_labels
from tag2mask.recipes.rrm.schedule import two_phase_schedule


class JointModel(SegmentationModel):
    """RRM (Zhang et al., AAAI 2020): L = L_class + L_background + L_foreground + weight * L_energy.

    Class activation maps of each crop at several sizes and two CRFs give labels for its reliable
    pixels; the segmentation branch learns from them with one cross-entropy over background and one over
    foreground, and from all pixels with the dense energy. Nothing flows back through the maps.

    Args:
        mining: what counts as reliable; null takes the published values.
        cam_scales: sizes of the crop for the maps; 1 must be among them.
        energy_weight: weight of the dense energy; 0 leaves it out (cross-entropy only).
        energy_scale: resolution of the energy relative to the crop. The weight is meant for 160 x 160
            pixels; other crops scale it by (160 * 160 / n) ** 2 on their own.
        classify_only: share of the training, from its start, with the classification loss alone.
        joint_lr: rate of all parameters when the other losses set in, where classify_only is above 0.
        dropout: of the classification branch.
        **segmentation: arguments of `SegmentationModel`.
    """

    taps_beside_head = ("out",)

    def __init__(
        self,
        mining: RegionMining | None = None,
        cam_scales: Sequence[float] = (1.0, 0.5, 1.5, 2.0),
        energy_weight: float = 1e-7,
        energy_scale: float = 0.5,
        classify_only: float = 0.0,
        joint_lr: float = 7e-4,
        dropout: float = 0.5,
        **segmentation: Any,
    ) -> None:
        super().__init__(**segmentation)
        if self.msc_scales:
            raise UserError("msc_scales is for plain segmentation networks: leave it out")
        if self.head_name.startswith("smp:"):
            raise UserError(f"head {self.head_name} shares no features with a classifier: take another head")
        if 1.0 not in cam_scales or any(scale <= 0 for scale in cam_scales):
            raise UserError(f"cam_scales must be above 0 with 1 among them, got {list(cam_scales)}")
        if not 0 <= classify_only < 1 or energy_weight < 0 or not joint_lr > 0:
            raise UserError(
                "classify_only must be a share below 1, energy_weight from 0 on and joint_lr above 0, got "
                f"{classify_only}, {energy_weight} and {joint_lr}"
            )
        self.mining = mining or RegionMining()
        self.cam_scales = tuple(float(scale) for scale in cam_scales)
        self.energy_weight = energy_weight
        self.classify_only = classify_only
        self.joint_lr = joint_lr
        self.class_head = CAMHead(self.backbone.taps["out"].channels, self.num_classes, dropout)
        self.class_loss = nn.MultiLabelSoftMarginLoss()
        self.energy = DenseEnergyLoss(scale=energy_scale)
        self._start_class_head()

    def _start_class_head(self) -> None:
        # The labels come from its maps: with random weights the first of them would be noise.
        if self.start == "classifier" and self.classifier_from is not None:
            trained = load_network(self.classifier_from, Classifier)
            self.class_head.load_state_dict(trained.head.state_dict())

    @property
    def backbone(self) -> Any:
        """The features of both branches."""
        return self.network.backbone

    def new_parts(self) -> list[nn.Module]:
        """Both heads."""
        return [*super().new_parts(), self.class_head]

    def settings(self) -> dict[str, float]:
        """The mined ratio."""
        return {"mined_ratio": self.mining.ratio}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The groups of `Stage`; with a first phase, its rates and then `joint_lr` for all."""
        configured: Any = super().configure_optimizers()
        if self.classify_only > 0:
            first = self._first_steps()
            schedule = two_phase_schedule(
                configured["optimizer"], self.schedule_steps(), first, self.joint_lr, self.poly_power
            )
            configured["lr_scheduler"]["scheduler"] = schedule
        return configured  # type: ignore[no-any-return]

    def _first_steps(self) -> int:
        return int(self.classify_only * self.schedule_steps()) if self.classify_only else 0

    def training_step(self, batch: TrainBatch, batch_index: int) -> Tensor:
        """All losses of a batch of crops."""
        images, tags, inside = batch["image"], batch["tags"], batch["label"] != IGNORE
        head: nn.Module = self.network.head  # type: ignore[assignment]
        features = self.backbone(images)
        parts = {"class": self.class_loss(self.class_head(features["out"]), tags)}
        if self.global_step >= self._first_steps():
            cams = self._cams(images, features["out"])
            with thread_pool() as pool:
                jobs = self._start_mining(pool, images, cams, tags)
                logits = head(features)  # while the CRFs run
                labels = self._mined(jobs, inside)
            parts |= self._segmentation_losses(images, logits, labels, inside)
            share = (labels != IGNORE).sum() / inside.sum().clamp(min=1)
            self.log("train/mined", share, batch_size=len(images))
        else:
            # DDP waits for the gradient of every trained parameter.
            parts["later"] = head(features).sum() * 0
        for name, value in parts.items():
            self.log(f"train/{name}", value, batch_size=len(images))
        loss = torch.stack(list(parts.values())).sum()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(images))
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Keep weight decay off a branch that does not train yet."""
        if self.global_step < self._first_steps():
            for parameter in self.network.head.parameters():  # type: ignore[union-attr]
                parameter.grad = None

    @torch.no_grad()
    def _cams(self, images: Tensor, features: Tensor) -> Tensor:
        """Maps (B, K, H, W): ReLU at each size, averaged on the grid of size 1, enlarged to the crop."""
        grid = features.shape[-2:]
        # These passes only look: no dropout, and no trace in batch-norm that trains.
        self.backbone.eval()
        maps = [
            self._cam(features if scale == 1 else self._look(_resized(images, scale)))
            for scale in self.cam_scales
        ]
        self.backbone.train(self.training)
        aligned = [F.interpolate(m, grid, mode="bilinear", align_corners=False) for m in maps]
        mean = torch.stack(aligned).mean(0)
        return F.interpolate(mean, images.shape[-2:], mode="bilinear", align_corners=False)

    def _look(self, images: Tensor) -> Tensor:
        # A batch of enlarged crops does not fit a CPU's cache; one at a time does, and is faster.
        parts = torch.split(images, 1 if images.device.type == "cpu" else len(images))
        return torch.cat([self.backbone(part)["out"] for part in parts])

    def _cam(self, features: Tensor) -> Tensor:
        maps = self.class_head.cam(features).float().relu()
        # VGG16's maps peak where its removed pooling layers would have spread them.
        return maps.sqrt() if self.backbone.cam_sqrt else maps

    def _start_mining(
        self, pool: ThreadPoolExecutor, images: Tensor, cams: Tensor, tags: Tensor
    ) -> list[Future[Labels]]:
        pixels = images.to("cpu", torch.uint8).numpy()
        maps = cams.cpu().numpy()
        jobs = []
        for image, cam, tag in zip(pixels, maps, tags.cpu().numpy(), strict=True):
            present = np.flatnonzero(tag > 0)
            classes = [int(k) + 1 for k in present]
            jobs.append(pool.submit(reliable_labels, image, cam[present], classes, self.mining))
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
            "background": _mean_where(pixels, labels == 0),
            "foreground": _mean_where(pixels, foreground),
        }
        if self.energy_weight > 0:
            energy = self.energy(images.float(), full.softmax(1), labels, inside)
            losses["energy"] = self.energy_weight * self._per_pixels(labels) * energy
        return losses

    def _per_pixels(self, labels: Tensor) -> float:
        """The published weight is for 160 x 160 pixels; the energy grows with the pairs of pixels."""
        count = labels.shape[-2] * labels.shape[-1] * self.energy.scale**2
        return float((160 * 160 / count) ** 2)


def _resized(images: Tensor, scale: float) -> Tensor:
    size = [max(1, round(side * scale)) for side in images.shape[-2:]]
    return F.interpolate(images.float(), size, mode="bilinear", align_corners=False)


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over a mask; 0 without a pixel in it, whose mean would be NaN."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
