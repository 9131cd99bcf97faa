"""Cross-entropy that learns less from labels that a network finds unlikely."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.core import IGNORE
from tag2mask.losses.over_processes import known_cross_entropy, mean_over_processes
from tag2mask.losses.precision import at_least_float32


def generalised_cross_entropy(logits: Tensor, labels: Tensor, q: float) -> Tensor:
    """The mean of (1 - p^q) / q over the known pixels of all processes, p being the probability of a label.

    Its gradient is that of cross-entropy times p^q: pixels whose label the network finds unlikely, among
    them the mistakes of pseudo-labels, count less. q to 0 gives cross-entropy, q = 1 the mean absolute error
    (Zhang and Sabuncu, NeurIPS 2018, equation 6).

    Args:
        logits: (B, C, H, W) floating point; computed as float32.
        labels: (B, H, W) int64 of indices 0..C-1, or 255 where unknown.
        q: 0 for cross-entropy, up to 1.

    Returns:
        a scalar, at least 0; 0 without a known pixel, whose mean would be NaN.

    Raises:
        ValueError: q lies outside 0..1.

    Example:
        >>> logits = torch.log(torch.tensor([0.25, 0.75])).view(1, 2, 1, 1)
        >>> round(float(generalised_cross_entropy(logits, torch.tensor([[[0]]]), 0.5)), 3)
        1.0
    """
    if not 0 <= q <= 1:
        raise ValueError(f"q must lie in 0..1, got {q}")
    if q == 0:
        return known_cross_entropy(logits, labels)
    entropy = F.cross_entropy(at_least_float32(logits), labels, ignore_index=IGNORE, reduction="none")
    known = labels != IGNORE
    return mean_over_processes(-torch.expm1(-q * entropy[known]).sum(), known.sum()) / q


class GeneralisedCrossEntropy(nn.Module):
    """`generalised_cross_entropy` as a module.

    Args:
        q: as in `generalised_cross_entropy`.

    Shape: logits (B, C, H, W), labels (B, H, W) -> scalar.
    """

    def __init__(self, q: float = 0.0) -> None:
        super().__init__()
        if not 0 <= q <= 1:
            raise ValueError(f"q must lie in 0..1, got {q}")
        self.q = q

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss, see `generalised_cross_entropy`."""
        return generalised_cross_entropy(logits, labels, self.q)
