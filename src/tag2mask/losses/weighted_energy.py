"""The dense energy as one of several losses: its weight, and how that follows the size of a crop."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from tag2mask.core import UserError
from tag2mask.losses.dense_energy import DenseEnergyLoss

_PUBLISHED_PIXELS = 160 * 160
"""Pixels of the energy for which RRM's weight is meant: a crop of 321 at half size."""


@dataclass(frozen=True)
class EnergySpec:
    """The dense energy among the losses.

    Attributes:
        weight: of the energy; 0 leaves it out (cross-entropy only). It is meant for 160 x 160 pixels;
            other crops scale it by (160 * 160 / n) ** 2 on their own.
        scale: resolution of the energy relative to the crop.

    Raises:
        UserError: a value lies outside its range.
    """

    weight: float = 1e-7
    scale: float = 0.5

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise UserError(f"energy.weight must be 0 or more, got {self.weight}")
        if not 0 < self.scale <= 1:
            raise UserError(f"energy.scale must be above 0 and at most 1, got {self.scale}")


class WeightedEnergy(nn.Module):
    """`dense_energy_loss` (RRM, eq. 10 to 14) of a batch of n pixels each, times weight (160 * 160 / n)^2.

    Args:
        spec: weight and resolution.

    Shape: images (B, 3, H, W) RGB 0..255, logits (B, K + 1, H, W), labels (B, H, W) of 0..K or 255,
    inside (B, H, W) bool, false in the padding -> scalar, at most 0.
    """

    def __init__(self, spec: EnergySpec) -> None:
        super().__init__()
        self.spec = spec
        self.energy = DenseEnergyLoss(scale=spec.scale)

    def forward(self, images: Tensor, logits: Tensor, labels: Tensor, inside: Tensor) -> Tensor:
        """The loss, see the class."""
        pixels = labels.shape[-2] * labels.shape[-1] * self.spec.scale**2
        weight = self.spec.weight * (_PUBLISHED_PIXELS / pixels) ** 2
        energy: Tensor = self.energy(images.float(), logits.softmax(1), labels, inside)
        return weight * energy
