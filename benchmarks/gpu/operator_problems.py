"""Inputs of the operators' measurements, and the fewest bytes that a walk moves."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Inputs
from tag2mask.ops import half_plane_offsets

FLOAT = 4
WALK_CHANNELS, WALK_MAPS, WALK_PRODUCTS = 448, 3, 70
"""Features of AffinityNet; maps of an image; products of the walk's series for t = 256 and tol = 1e-5."""


def walk_problem(inputs: Inputs, device: torch.device, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Features that follow an image's colours, and random maps."""
    generator = torch.Generator().manual_seed(0)
    image = torch.from_numpy(inputs.image(height, width).astype(np.float32) / 255)
    mixing = torch.randn(WALK_CHANNELS, 3, generator=generator)
    features = torch.einsum("ck,hwk->chw", mixing, image).contiguous()
    return features.to(device), torch.rand(WALK_MAPS, height, width, generator=generator).to(device)


def walk_bytes(cells: int) -> float:
    """Features once; in every product the weights of 69 neighbours and three states of the maps."""
    entries = (2 * len(half_plane_offsets(5)) + 1) * cells
    product = entries * FLOAT + 3 * WALK_MAPS * cells * FLOAT
    return WALK_CHANNELS * cells * FLOAT + WALK_PRODUCTS * product


def label_patches(batch: int, side: int, generator: torch.Generator) -> Tensor:
    """Labels (B, side, side) in patches of 8 cells: background, two classes and neutral."""
    kinds = torch.tensor([0, 0, 1, 2, 255, 1, 0, 255])
    chosen = kinds[torch.randint(8, (batch, side // 8, side // 8), generator=generator)]
    return chosen.repeat_interleave(8, 1).repeat_interleave(8, 2)


def energy_problem(inputs: Inputs, device: torch.device, quick: bool) -> list[Tensor]:
    batch, classes, side = (2, 3, 24) if quick else (8, 21, 160)
    generator = torch.Generator().manual_seed(0)
    stack = np.stack(inputs.images(batch, side, side))
    images = torch.from_numpy(stack).permute(0, 3, 1, 2).float().contiguous()
    logits = torch.randn(batch, classes, 10, 10, generator=generator) * 3
    probs = torch.nn.functional.interpolate(logits, (side, side), mode="bilinear").softmax(1)
    labels = probs.argmax(1)
    labels[:, side // 2 :] = 255
    return [t.to(device) for t in (images, probs, labels, torch.ones(batch, side, side))]
