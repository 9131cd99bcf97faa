"""Signals of good labels that need no mask: what a classifier, another view and the image's edges say."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.core import IGNORE
from tag2mask.modules import Classifier

Labels = npt.NDArray[np.uint8]

SIDE = 256
"""Long side of the images that the classifier judges, in pixels: it saw them at about that size."""


@torch.no_grad()
def evidence(classifier: Classifier, pixels: Tensor, labels: Labels, tags: Sequence[int]) -> float:
    """Whether the classifier still finds each tag inside its label, and no longer outside, for its area.

    Everything else is painted in the mean colour. For each tag: the harmonic mean of the share of the
    probability that is left inside, the share that is gone outside, and the share of the image that the label
    does not need (after Poppi et al. 2021, who judge class activation maps so).

    Args:
        classifier: the run's own.
        pixels: uint8 (3, H, W) RGB.
        labels: uint8 (H, W), index 0..K or 255.
        tags: index 1..K of each tag.

    Returns:
        the mean over the tags, in [0, 1].
    """
    scale = SIDE / max(labels.shape)
    size = (max(1, round(labels.shape[0] * scale)), max(1, round(labels.shape[1] * scale)))
    image = F.interpolate(pixels[None].float(), size, mode="bilinear", align_corners=False, antialias=True)[0]
    small = torch.from_numpy(cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT))
    colour = image.mean((1, 2), keepdim=True).expand_as(image)
    masks = [small == tag for tag in tags]
    views = [
        image,
        *(v for m in masks for v in (torch.where(m, image, colour), torch.where(m, colour, image))),
    ]
    found = classifier(torch.stack(views)).sigmoid()
    values = []
    for number, (tag, mask) in enumerate(zip(tags, masks, strict=True)):
        whole, inside, outside = (float(found[n, tag - 1]) for n in (0, 2 * number + 1, 2 * number + 2))
        kept, gone = min(1.0, inside / whole), max(0.0, 1 - outside / whole)
        values.append(_harmonic(kept, gone, 1 - float(mask.float().mean())))
    return float(np.mean(values))


def agreement(one: Labels, other: Labels) -> float:
    """Mean IoU of two label maps over the foreground classes that either has; 1 where neither has one.

    Args:
        one: uint8 (H, W).
        other: the same shape; pixels that are 255 in either do not count.
    """
    known = (one != IGNORE) & (other != IGNORE)
    classes = set(np.unique(one[known]).tolist()) | set(np.unique(other[known]).tolist())
    shares = [
        ((one == k) & (other == k) & known).sum() / max(1, (((one == k) | (other == k)) & known).sum())
        for k in classes - {0}
    ]
    return float(np.mean(shares)) if shares else 1.0


def edge_contrast(pixels: Tensor, labels: Labels) -> float:
    """How much stronger the image's edges are along the labels' outlines than elsewhere.

    Args:
        pixels: uint8 (3, H, W) RGB.
        labels: uint8 (H, W).

    Returns:
        (a - b) / (a + b) of the mean gradient a along the outlines and b of the image, in [-1, 1]; 0 where
        the labels have no outline, which says nothing.
    """
    gray = cv2.cvtColor(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()), cv2.COLOR_RGB2GRAY)
    smooth = cv2.GaussianBlur(gray.astype(np.float32), (0, 0), 1.5)
    gradient = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    outline = np.zeros(labels.shape, bool)
    outline[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    outline[1:] |= labels[1:] != labels[:-1]
    if not outline.any():
        return 0.0
    along, around = float(gradient[outline].mean()), float(gradient.mean())
    return (along - around) / max(along + around, 1e-6)


def foreground(labels: Labels) -> float:
    """Share of the known pixels that have a class."""
    known = int((labels != IGNORE).sum())
    return float(((labels > 0) & (labels != IGNORE)).sum()) / max(1, known)


def _harmonic(*values: float) -> float:
    return len(values) / sum(1 / value for value in values) if min(values) > 0 else 0.0
