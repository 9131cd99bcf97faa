"""Loss that makes learned affinities equal inside superpixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tag2mask.losses.over_processes import mean_over_processes
from tag2mask.losses.precision import at_least_float32


def region_smoothness_loss(gates: Tensor, superpixels: Tensor) -> Tensor:
    """Mean squared difference of each gate map to its mean in each superpixel.

    L_s = mean (G - G_s)^2, where G_s is at each place the mean of its superpixel, for each gate map by
    itself (Wang et al. 2020, eq. 8, which has the sum). Smaller gates have a smaller loss, although
    `tag2mask.ops.spatial_propagation` does the same with them. To rule this out, pass
    `tag2mask.ops.normalise_gates` (gates).

    Args:
        gates: (B, ..., H, W) floating point, for example (B, 4, 3, C, H, W); float16 and bfloat16 are
            computed as float32. NaN in gives NaN out.
        superpixels: (B, h, w) integers, a number for each superpixel of an image; resized to (H, W) by
            taking the nearest. Places with a negative number belong to none and are left out.

    Returns:
        scalar, at least 0; 0 where no place belongs to a superpixel.

    Raises:
        ValueError: shapes that do not fit; empty tensors; gates that are not floating point; superpixels
            that are not integers.

    Example:
        >>> gates = torch.tensor([[[[0.0, 2.0, 5.0, 5.0]]]])
        >>> region_smoothness_loss(gates, torch.tensor([[[7, 7, 9, 9]]]))
        tensor(0.5000)
    """
    _check(gates, superpixels)
    maps = at_least_float32(gates).reshape(gates.shape[0], -1, *gates.shape[-2:])
    regions, count = _number(_nearest(superpixels, maps.shape[-2], maps.shape[-1]))
    values = maps.movedim(1, 0).flatten(1)[:, regions >= 0]
    regions = regions[regions >= 0]
    # The means need no gradient: the differences to a mean sum to 0, so that it would vanish.
    flat = values.detach()
    sizes = torch.bincount(regions, minlength=count).clamp(min=1)
    means = flat.new_zeros(len(flat), count).index_add_(1, regions, flat) / sizes
    squares = (values - means[:, regions]).square()
    return mean_over_processes(squares.sum(), squares.numel())


def _check(gates: Tensor, superpixels: Tensor) -> None:
    if gates.ndim < 4 or gates.numel() == 0 or not gates.is_floating_point():
        raise ValueError(
            "gates must be floating point (B, ..., H, W) and not empty, got "
            f"{gates.dtype} {tuple(gates.shape)}"
        )
    if superpixels.ndim != 3 or len(superpixels) != len(gates) or superpixels.numel() == 0:
        raise ValueError(f"superpixels must be ({len(gates)}, h, w), got {tuple(superpixels.shape)}")
    if superpixels.is_floating_point() or superpixels.dtype == torch.bool:
        raise ValueError(f"superpixels must be integers, got {superpixels.dtype}")


def _nearest(labels: Tensor, height: int, width: int) -> Tensor:
    """Labels (B, h, w) at the centres of a grid of (height, width)."""
    rows, columns = (
        ((torch.arange(new, device=labels.device) + 0.5) * (old / new)).long().clamp(max=old - 1)
        for new, old in ((height, labels.shape[1]), (width, labels.shape[2]))
    )
    return labels[:, rows[:, None], columns]


def _number(labels: Tensor) -> tuple[Tensor, int]:
    """A number for each region of each image, (B * H * W,) with -1 for none, and a bound on them."""
    names, ranks = torch.unique(labels.long(), return_inverse=True)
    image = torch.arange(len(labels), device=labels.device)[:, None, None]
    numbers = (image * len(names) + ranks).masked_fill(labels < 0, -1)
    return numbers.flatten(), len(labels) * len(names)


class RegionSmoothnessLoss(nn.Module):
    """`region_smoothness_loss` as a module.

    Shape: gates (B, ..., H, W), superpixels (B, h, w) -> scalar.
    """

    def forward(self, gates: Tensor, superpixels: Tensor) -> Tensor:
        """The loss, see `region_smoothness_loss`."""
        return region_smoothness_loss(gates, superpixels)
