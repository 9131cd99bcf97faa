"""Multi-scale class activation maps as published: float32, one copy of the image a pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1) * 255


@torch.no_grad()
def multi_scale_cam(model: Callable[[Tensor], Tensor], image: np.ndarray, scales: Sequence[float]) -> Tensor:
    """Sum of the maps of every scale and its mirror image, at the size of the image (H, W, 3).

    Args:
        model: normalised images (1, 3, H, W) -> raw maps (1, C, h, w).
        image: uint8 RGB.
        scales: factors on the image's size.
    """
    height, width = image.shape[:2]
    total = torch.zeros(())
    for scale in scales:
        size = (round(width * scale), round(height * scale))
        resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
        batch = (torch.tensor(resized).permute(2, 0, 1)[None].float() - MEAN) / STD
        batch = batch.contiguous()
        for mirrored in (False, True):
            maps = model(batch.flip(3) if mirrored else batch).relu()
            maps = F.interpolate(maps, (height, width), mode="bilinear", align_corners=False)
            total = total + (maps.flip(3) if mirrored else maps)
    return total[0]
