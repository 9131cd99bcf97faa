"""The papers' networks as chains of functions, written from their tables of layers.

Each takes a dictionary of weights by the names of the public weight files.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]


def _conv(w: Weights, name: str, x: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    weight = w[f"{name}.weight"]
    padding = dilation * (weight.shape[-1] // 2)
    return F.conv2d(x, weight, w.get(f"{name}.bias"), stride, padding, dilation)


def _norm_relu(w: Weights, name: str, x: Tensor) -> Tensor:
    mean, variance, scale, shift = (
        w[f"{name}.{part}"].view(1, -1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return ((x - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp(min=0)


def _block(
    w: Weights, name: str, x: Tensor, stride: int, dilations: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Two 3x3 convolutions, each after norm and ReLU; a 1x1 shortcut where the shape changes."""
    entry = _norm_relu(w, f"{name}.bn_branch2a", x)
    y = _conv(w, f"{name}.conv_branch2a", entry, stride, dilations[0])
    y = _conv(w, f"{name}.conv_branch2b1", _norm_relu(w, f"{name}.bn_branch2b1", y), 1, dilations[1])
    changed = f"{name}.conv_branch1.weight" in w
    return y + (_conv(w, f"{name}.conv_branch1", entry, stride) if changed else x), entry


def _bottleneck(w: Weights, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """1x1, 3x3 with dilation 4, 1x1, and always a 1x1 shortcut."""
    entry = _norm_relu(w, f"{name}.bn_branch2a", x)
    y = _conv(w, f"{name}.conv_branch2a", entry)
    y = _conv(w, f"{name}.conv_branch2b1", _norm_relu(w, f"{name}.bn_branch2b1", y), 1, 4)
    y = _conv(w, f"{name}.conv_branch2b2", _norm_relu(w, f"{name}.bn_branch2b2", y))
    return y + _conv(w, f"{name}.conv_branch1", entry), entry


def resnet38(w: Weights, x: Tensor) -> dict[str, Tensor]:
    """The maps at the entries of b5 and b6 and the last one (4096 channels wide in full), without dropout."""
    x = _conv(w, "conv1a", x)
    for level, blocks in ((2, 3), (3, 3), (4, 6)):
        for index in range(blocks):
            x, _ = _block(w, f"b{level}" + (f"_{index}" if index else ""), x, 1 if index else 2, (1, 1))
    x, conv4 = _block(w, "b5", x, 1, (1, 2))
    for name in ("b5_1", "b5_2"):
        x, _ = _block(w, name, x, 1, (2, 2))
    x, conv5 = _bottleneck(w, "b6", x)
    x, _ = _bottleneck(w, "b7", x)
    return {"conv4": conv4, "conv5": conv5, "out": _norm_relu(w, "bn7", x)}


def vgg16(w: Weights, x: Tensor, role: str) -> dict[str, Tensor]:
    """conv4_3, conv5_3 and fc7 of the network with 3x3 pooling, fc6 dilated by the role, without dropout."""
    maps = {}
    for level, layers in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3)):
        for layer in range(1, layers + 1):
            x = _conv(w, f"conv{level}_{layer}", x, 1, 2 if level == 5 else 1).clamp(min=0)
        maps[f"conv{level}_{layers}"] = x
        if level < 5 or role == "segmentation":
            x = F.max_pool2d(x, 3, 2 if level < 4 else 1, 1)
    if role == "segmentation":
        x = F.avg_pool2d(x, 3, 1, 1)
    x = _conv(w, "fc6", x, 1, {"cam": 1, "affinity": 4, "segmentation": 12}[role]).clamp(min=0)
    return {**{k: maps[k] for k in ("conv4_3", "conv5_3")}, "out": _conv(w, "fc7", x).clamp(min=0)}


def affinity_head(weights: list[Tensor], mix: Tensor, maps: list[Tensor], groups: list[int] | None) -> Tensor:
    """1x1 convolutions without bias and ELU on each map, then on all of them; norm in groups for VGG16."""
    joined = []
    for index, (weight, x) in enumerate(zip(weights, maps, strict=True)):
        x = torch.einsum("oi,bihw->bohw", weight.flatten(1), x)
        if groups is not None:
            batch, channels, *size = x.shape
            parts = x.reshape(batch, groups[index], -1)
            centred = parts - parts.mean(2, keepdim=True)
            x = (centred / (parts.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()).reshape(
                batch, channels, *size
            )
        joined.append(torch.where(x > 0, x, x.exp() - 1))
    x = torch.einsum("oi,bihw->bohw", mix.flatten(1), torch.cat(joined, 1))
    return torch.where(x > 0, x, x.exp() - 1)
