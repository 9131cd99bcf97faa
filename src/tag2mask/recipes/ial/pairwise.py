"""The pairwise network: it learns affinities from confident regions and refines the unary result."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric

from tag2mask.backbones import BackboneSpec
from tag2mask.core import IGNORE, ImageSample, LabelsResult, UserError
from tag2mask.losses import RegionSmoothnessLoss, mean_over_processes
from tag2mask.modules import Optimization, Predictor, TrainableNetwork
from tag2mask.ops.sizes import image_size, maps_at_size
from tag2mask.recipes.ial.energy import energy, mined_energy
from tag2mask.recipes.ial.pairwise_data import PairwiseSample, PatchBatch
from tag2mask.recipes.ial.propagation import PropagationNetwork, PropagationSpec

Reduction = Literal["sum_per_patch", "mean"]


class PairwiseLearner(Predictor, TrainableNetwork):
    """Images and unary probabilities -> refined probabilities, alpha_p = G alpha_u (Wang et al. 2020, 3.2.2).

    Loss: cross-entropy on the confident regions (equation 7) plus the region smoothness of the
    gates, L_s (equation 8; its weight is not in the paper). Prediction: labels of the training
    images, from the classes of their unary maps. Validation measures the energy of equation 1
    before and after mining (table 7); it looks at no mask.

    Args:
        num_classes: number of foreground classes K; set from the data.
        backbone: guide of the gates.
        optimization: optimiser and rates; lr is that of the pretrained guide: SPN gives its guide and the
            embedding a tenth of the others'. poly_power is 0.5 in the paper.
        propagation: the propagation network.
        reduction: of the loss. sum_per_patch adds up the pixels and divides by the patches, as SPN's
            published code does: the paper's rate of 1e-5 belongs to it. mean divides by the known pixels
            too, up to 16,384 of a patch of 128 x 128.
        smoothness: weight of L_s, the mean over gates, against the cross-entropy of one pixel; 0 leaves it
            out. With sum_per_patch it counts once for each pixel of a patch.
        unknown: confidence below which a refined pixel is labelled 255; 0 labels every pixel.
    """

    kind = "labels"

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneSpec = BackboneSpec("vgg16"),
        optimization: Optimization = Optimization(lr=1e-6, weight_decay=5e-3, poly_power=0.5),
        propagation: PropagationSpec = PropagationSpec(),
        reduction: Reduction = "sum_per_patch",
        smoothness: float = 1.0,
        unknown: float = 0.0,
    ) -> None:
        super().__init__(num_classes, optimization)
        if smoothness < 0 or not 0 <= unknown < 1:
            raise UserError(
                f"smoothness must be 0 or more and unknown lie in 0..1, got {smoothness} and {unknown}"
            )
        self.reduction = reduction
        self.smoothness = smoothness
        self.unknown = unknown
        self.network = PropagationNetwork(backbone.build(), num_classes + 1, propagation)
        self.smoothness_loss = RegionSmoothnessLoss()
        self.energies = nn.ModuleDict(
            {name: MeanMetric() for name in ("energy_before", "energy_after", "energy_after_all_pixels")}
        )

    def pretrained_parts(self) -> list[nn.Module]:
        """The guide's backbone, and the embedding: SPN trains both at a tenth of the rate."""
        return [self.network.backbone, *self.network.slow_parts()]

    def new_parts(self) -> list[nn.Module]:
        """Everything else."""
        return self.network.new_parts()

    def forward(self, images: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the refined maps, and the gates; shapes as in `PropagationNetwork.forward`."""
        result: tuple[Tensor, Tensor] = self.network(images, maps)
        return result

    def refine(self, image: Tensor, maps: Tensor) -> Tensor:
        """Refined probabilities alpha_p (K + 1, H, W) of an image (3, H, W) from its maps (K + 1, h, w)."""
        logits, _ = self(image[None], _at_size(maps, image)[None])
        refined: Tensor = logits[0].float().softmax(0)
        return refined

    def training_step(self, batch: PatchBatch, batch_index: int) -> Tensor:
        """Cross-entropy plus region smoothness of the patches of a few images."""
        images, maps = batch["image"].flatten(0, 1), batch["maps"].flatten(0, 1)
        labels, superpixels = batch["label"].flatten(0, 1), batch["superpixels"].flatten(0, 1)
        logits, gates = self(images, maps)
        total = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="sum")
        parts = {"known": mean_over_processes(total, (labels != IGNORE).sum())}
        loss = total / len(labels) if self.reduction == "sum_per_patch" else parts["known"]
        if self.smoothness:
            parts["smoothness"] = self.smoothness_loss(gates, superpixels)
            pixels = labels[0].numel() if self.reduction == "sum_per_patch" else 1
            loss = loss + self.smoothness * pixels * parts["smoothness"]
        self.log("train/loss", loss, prog_bar=True, batch_size=len(images))
        self.log_dict({f"train/{k}": v.detach() for k, v in parts.items()}, batch_size=len(images))
        return loss

    def validation_step(self, batch: list[PairwiseSample], batch_index: int) -> None:
        """Energies of a sample of the training images."""
        for sample in batch:
            maps = self._dense(sample)
            unary = _at_size(maps, sample["image"])
            refined = self.refine(sample["image"], maps)
            after, after_all = mined_energy(sample["label"], unary, refined)
            self._energy("energy_before").update(energy(unary, refined))
            self._energy("energy_after_all_pixels").update(after_all)
            # An image without a mined region has no such energy, and does not count in the mean.
            self._energy("energy_after").update(after, weight=float((sample["label"] != IGNORE).any()))

    def on_validation_epoch_end(self) -> None:
        """Log the mean energies."""
        for name in self.energies:
            metric = self._energy(name)
            value = metric.compute()
            # NaN is the mean over no image: nothing was mined in any of them.
            if value.isfinite():
                self.log(f"val/{name}", value, prog_bar=name != "energy_after_all_pixels")
            metric.reset()

    def _energy(self, name: str) -> MeanMetric:
        metric = self.energies[name]
        assert isinstance(metric, MeanMetric)
        return metric

    def _dense(self, sample: ImageSample) -> Tensor:
        """Maps (K + 1, h, w) on the image's device."""
        return torch.from_numpy(sample["maps"].dense(self.num_classes + 1)).to(sample["image"].device)

    def predict_image(self, sample: ImageSample) -> LabelsResult:
        """Refined labels of an image, among the classes of its unary maps."""
        classes = list(sample["maps"].classes)
        refined = self.refine(sample["image"], self._dense(sample))[classes]
        best, winner = (refined / refined.sum(0).clamp(min=1e-6)).max(0)
        labels = torch.tensor(classes, device=winner.device)[winner]
        labels = labels.masked_fill(best < self.unknown, IGNORE)
        return LabelsResult(
            sample["id"], {"": labels.cpu().numpy().astype(np.uint8)}, best.cpu().numpy().astype(np.float32)
        )


def _at_size(maps: Tensor, image: Tensor) -> Tensor:
    """Maps (K + 1, h, w) at the size of the image (3, H, W), bilinear."""
    return maps_at_size(maps.float(), image_size(image))
