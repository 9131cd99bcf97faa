"""Gray guided filter with pooling as the box filter."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def guided_filter_by_pooling(guide: Tensor, maps: Tensor, window: int, eps: float, iterations: int) -> Tensor:
    """Maps (K, H, W) filtered by a guide (H, W), in float64, `iterations` times."""
    image, state = guide.double()[None, None], maps.double()[:, None]

    def mean(planes: Tensor) -> Tensor:
        return F.avg_pool2d(planes, window, stride=1, padding=window // 2, count_include_pad=False)

    for _ in range(iterations):
        mean_image, mean_state = mean(image), mean(state)
        variance = mean(image * image) - mean_image**2
        slope = (mean(image * state) - mean_image * mean_state) / (variance + eps)
        rest = mean_state - slope * mean_image
        state = mean(slope) * image + mean(rest)
    return state[:, 0].to(maps.dtype)
