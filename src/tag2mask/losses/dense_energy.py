"""Loss of a segmentation that gives different labels to pixels of one colour and place."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.core import IGNORE
from tag2mask.ops.engine import Engine
from tag2mask.ops.lattice.bilateral import Method, bilateral_sums
from tag2mask.ops.layout import check_image


def dense_energy_loss(
    images: Tensor,
    probs: Tensor,
    labels: Tensor,
    roi: Tensor,
    sigma_rgb: float = 15,
    sigma_xy: float = 100,
    scale: float = 0.5,
    method: Method = "lattice",
    engine: Engine = "auto",
) -> Tensor:
    """Draw all pixels that are close in position and colour towards one label.

    The dense energy of RRM (Zhang et al. 2020, eq. 10 to 14), in the form of its published code:

    -1/B sum_i g_i sum_k s_ik (A s_k)_i, with s = probs * roi, A_ij the Gaussian of positions and colours
    (`tag2mask.ops.lattice.bilateral_sums`: unnormalised, i = j included) and the gate g_i = 1 where the label
    is 255, otherwise max(0, roi_i - max_k probs_ik): labelled pixels with a sure prediction count little.

    With g = 1 this is the paper's sum of G(i, j) P(1 - P) up to a constant. Images, labels and roi (nearest)
    and probs (bilinear) are first resized by `scale`, and sigma_xy with them.

    The gradient with respect to s is -2 g (A s) / B: the gate takes no gradient, and A diag(g) is treated as
    symmetric. Where g is not constant it is not the derivative, but the published results were trained
    with it.

    The value grows with the number of pairs of pixels: about -5e6 for a crop of 321 (160 x 160 pixels at
    scale 0.5), for which the published weight is 1e-7; for n pixels after scaling multiply that by
    (160 * 160 / n)^2. A lattice returns 0.55 to 0.65 of the exact energy, here as in the published code;
    the weight is meant for that scale.

    Args:
        images: (B, 3, H, W) RGB, 0..255, uint8 or floating point; not normalised.
        probs: (B, K, H, W) floating point, softmax probabilities over K; bfloat16 and float16 are computed
            as float32.
        labels: (B, H, W) integers, 0..K-1, 255 = unlabelled.
        roi: (B, H, W) 1 inside the image, 0 in its padding; bool or a number type.
        sigma_rgb: standard deviation in colour, of 0..255, above 0.
        sigma_xy: standard deviation in position, pixels before scaling, above 0. The paper prints the
            two sigmas in each other's place; these defaults are those of the code.
        scale: resolution of the energy, in (0, 1].
        method: ``"lattice"``, or ``"exact"`` for the sum over all pairs of pixels in chunks, about 1.7
            times as large; slow on a CPU beyond 100 x 100 pixels.
        engine: ``"numba"`` (CPU, images on threads), ``"torch"``, or ``"auto"``: numba on the CPU and
            torch elsewhere.

    Returns:
        a scalar, at most 0 (float64 for float64 `probs`, otherwise float32), to be multiplied by a weight.

    Raises:
        ValueError: wrong shapes, types, devices or ranges, NaN, sigmas or a scale outside their range.

    Example:
        >>> images = torch.full((1, 3, 4, 4), 100.0)
        >>> probs = torch.full((1, 2, 4, 4), 0.5)
        >>> labels, roi = torch.full((1, 4, 4), 255), torch.ones(1, 4, 4)
        >>> loss = dense_energy_loss(images, probs, labels, roi, sigma_xy=1e6, scale=1, method="exact")
        >>> round(float(loss))  # 16 * 16 pairs of equal pixels, each 2 * 0.5 * 0.5
        -128
    """
    _check(images, probs, labels, roi, scale)
    with torch.autocast(probs.device.type, enabled=False):
        kind = torch.float64 if probs.dtype == torch.float64 else torch.float32
        aside = torch.cat([images.to(kind), labels[:, None].to(kind), roi[:, None].to(kind)], 1).detach()
        probs = probs.to(kind)
        if scale != 1:
            # As published. At half size no pixel is nearer to the mean that bilinear takes than any other.
            aside = F.interpolate(aside, scale_factor=scale, mode="nearest")
            probs = F.interpolate(probs, scale_factor=scale, mode="bilinear", align_corners=False)
        images, labels, roi = aside[:, :3], aside[:, 3], aside[:, 4:]
        top = probs.detach().amax(1, keepdim=True)
        _check_values(images, top, labels, roi, probs.shape[1])
        gate = torch.where(labels[:, None] == IGNORE, 1.0, (roi - top).clamp_(min=0))
        sums = bilateral_sums(images, probs.detach() * roi, sigma_rgb, sigma_xy * scale, method, engine)
        slope = sums.mul_(gate * roi * (-2 / len(images)))
        # Half the sum is the value, and all of `slope` is the gradient.
        twice = (probs * slope).sum()
        return twice - twice.detach() / 2


def _check(images: Tensor, probs: Tensor, labels: Tensor, roi: Tensor, scale: float) -> None:
    if probs.ndim != 4 or probs.numel() == 0 or not probs.is_floating_point():
        raise ValueError(f"probs must be floating point (B, K, H, W), got {probs.dtype} {tuple(probs.shape)}")
    batch, _, height, width = probs.shape
    check_image(images, "images", batch=batch)
    for name, tensor, shape in (
        ("images", images, (batch, 3, height, width)),
        ("labels", labels, (batch, height, width)),
        ("roi", roi, (batch, height, width)),
    ):
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape} to fit probs, got {tuple(tensor.shape)}")
        if tensor.device != probs.device:
            raise ValueError(f"{name} must lie where probs lies, on {probs.device}, got {tensor.device}")
    if labels.is_floating_point():
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    if not 0 < scale <= 1 or min(height, width) * scale < 1:
        raise ValueError(f"scale must lie in (0, 1] and leave a pixel of {height} x {width}, got {scale}")


def _check_values(images: Tensor, top: Tensor, labels: Tensor, roi: Tensor, classes: int) -> None:
    """Check the ranges of values. Called after resizing, when there are fewer of them to check."""
    known = labels[labels != IGNORE]
    for name, values, high, expected in (
        ("images", images, 255, "colours 0..255, not normalised"),
        ("roi", roi, 1, "1 inside the image and 0 in its padding"),
        ("labels", known, classes - 1, f"0..{classes - 1}, or {IGNORE} where unlabelled"),
        ("probs", top, 1 + 1e-3, "probabilities, which sum to 1 over K"),  # a softmax may round up
    ):
        if values.numel() == 0:
            continue
        least, largest = (float(v) for v in values.aminmax())
        if math.isnan(least) or least < 0 or largest > high:
            raise ValueError(f"{name} must be {expected}, found values from {least:g} to {largest:g}")


class DenseEnergyLoss(nn.Module):
    """`dense_energy_loss` as a module, filtered with a lattice.

    Args:
        sigma_rgb: as in `dense_energy_loss`.
        sigma_xy: as in `dense_energy_loss`.
        scale: as in `dense_energy_loss`.

    Shape: images (B, 3, H, W), probs (B, K, H, W), labels (B, H, W), roi (B, H, W) -> scalar.
    """

    def __init__(self, sigma_rgb: float = 15, sigma_xy: float = 100, scale: float = 0.5) -> None:
        super().__init__()
        self.sigma_rgb = sigma_rgb
        self.sigma_xy = sigma_xy
        self.scale = scale

    def forward(self, images: Tensor, probs: Tensor, labels: Tensor, roi: Tensor) -> Tensor:
        """The loss, see `dense_energy_loss`."""
        return dense_energy_loss(images, probs, labels, roi, self.sigma_rgb, self.sigma_xy, self.scale)
