"""The energy that the rounds minimise (Wang et al. 2020, equations 1 and 6, table 7)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.core import IGNORE


def energy(unary: Tensor, refined: Tensor) -> Tensor:
    """alpha^T L alpha of an image, per pixel.

    With L = I - G and the pairwise network's result alpha_p = G alpha_u (equation 3), the energy of
    equation 1 is alpha_u^T (alpha_u - alpha_p).

    Args:
        unary: (K + 1, H, W) probabilities alpha_u of the unary network.
        refined: (K + 1, H, W) probabilities alpha_p of the pairwise network.

    Returns:
        scalar; may be negative where the pairwise network is surer than the unary one.

    Example:
        >>> energy(torch.tensor([[[1.0]], [[0.0]]]), torch.tensor([[[0.75]], [[0.25]]]))
        tensor(0.2500)
    """
    return (unary * (unary - refined)).sum(0).mean()


def mined_energy(labels: Tensor, unary: Tensor, refined: Tensor) -> tuple[Tensor, Tensor]:
    """Y^T L alpha_u of an image with the mined regions Y as one-hot maps, the left side of equation 6.

    The paper does not say which pixels its average is over; both readings are given.

    Args:
        labels: (H, W) mined labels 0..K, or 255 for unknown pixels, where Y is zero.
        unary: (K + 1, H, W) probabilities alpha_u.
        refined: (K + 1, H, W) probabilities alpha_p = G alpha_u.

    Returns:
        the energy per known pixel (0 without any), and per pixel of the image.
    """
    known = labels != IGNORE
    target = F.one_hot(labels.long().masked_fill(~known, 0), len(unary)).movedim(-1, 0)
    total = (target * (unary - refined) * known).sum()
    return total / known.sum().clamp(min=1), total / torch.numel(labels)
