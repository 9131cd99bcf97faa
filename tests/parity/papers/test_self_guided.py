"""Parity of `self_guided` (Ke and Hsu, 2018) with plain forms of its equations; no code was published."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.recipes.self_guided import labels, refine, threshold_labels
from tests.parity.papers.common import natural_image, noise, self_guided_net

# --- localising ---------------------------------------------------------------------------------


def cells(maps: Tensor) -> Tensor:
    """Values (2500, C) of maps (C, H, W) on 50 x 50 cells."""
    small = F.interpolate(maps[None], (50, 50), mode="bilinear", align_corners=False, antialias=True)[0]
    return small.flatten(1).T


def distances(values: Tensor) -> Tensor:
    """Euclidean distances of all pairs of rows, by their differences; no slope where rows are equal."""
    squares = (values[:, None] - values[None]).square().sum(2)
    return squares.where(squares > 0, 1).sqrt() * (squares > 0)


def affinity_term(features: Tensor, image: Tensor) -> Tensor:
    """Mean over rows of |T - M / row sums|, T = W / row sums (equations 2 to 4 as rows)."""
    weights = torch.exp(-distances(cells(features)))
    apart = distances(cells(image))
    alike = 1 - apart / apart.max()
    return (weights / weights.sum(1, keepdim=True) - alike / alike.sum(1, keepdim=True)).abs().sum(1).mean()


def test_localising_trains_classes_and_affinities() -> None:
    """Cross-entropies of the maps' means, summed affinities, and the gradients of both new convolutions."""
    net = self_guided_net()
    image, tags = natural_image(48, 64), torch.tensor([[1.0, 0.0]])
    batch: Any = {"image": image[None], "tags": tags}
    net.training_step(batch, 0).backward()
    with torch.no_grad():
        features = {name: value.double() for name, value in net.backbone(image[None]).items()}
        logits = net.network.head(net.backbone(image[None])).double()
    last, first = (
        (layer.weight.detach()[:, :, 0, 0].double().requires_grad_(), layer.bias.detach().double())
        for layer in (net.localisation, net.aggregation)
    )
    maps = torch.einsum("kc,chw->khw", last[0], logits[0]) + last[1][:, None, None]
    chance = maps.mean((1, 2)).sigmoid()
    classes = -(tags[0] * chance.log() + (1 - tags[0]) * (1 - chance).log()).mean()
    early = torch.einsum("kc,chw->khw", first[0], features[net.tap][0]) + first[1][:, None, None]
    affinity = affinity_term(early, image.double())
    (classes + affinity).backward()
    with torch.no_grad():
        found = float(net.training_step(batch, 0))
    assert found == pytest.approx(float((classes + affinity).detach()), rel=1e-5)  # float32
    for layer, weight in ((net.localisation, last[0]), (net.aggregation, first[0])):
        assert layer.weight.grad is not None and weight.grad is not None
        slope = layer.weight.grad[:, :, 0, 0].double()
        torch.testing.assert_close(slope, weight.grad, rtol=1e-3, atol=1e-6)  # float32 sums of 2500 rows


# --- labels -------------------------------------------------------------------------------------


def otsu(values: np.ndarray) -> float:
    """The centre of 256 bins that maximises n_0 n_1 (m_0 - m_1)^2."""
    counts, edges = np.histogram(values, 256)
    centres = (edges[1:] + edges[:-1]) / 2
    best, threshold = -1.0, 0.0
    for split in range(1, 256):
        low, high = counts[:split], counts[split:]
        if low.sum() and high.sum():
            gap = np.average(centres[:split], weights=low) - np.average(centres[split:], weights=high)
            if low.sum() * high.sum() * gap**2 > best * (1 + 1e-12):
                best, threshold = low.sum() * high.sum() * gap**2, centres[split - 1]
    return threshold


def filtered(guide: np.ndarray, values: np.ndarray, window: int, eps: float) -> np.ndarray:
    """Equation 6: in each window the values fitted by a * guide + b, then the mean of all fits at a pixel."""
    height, width = guide.shape
    reach = window // 2
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for y, x in itertools.product(range(height), range(width)):
        part = np.s_[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        inside, wanted = guide[part], values[part]
        slope = ((inside * wanted).mean() - inside.mean() * wanted.mean()) / (inside.var() + eps)
        total[part] += slope * guide[part] + wanted.mean() - slope * inside.mean()
        count[part] += 1
    # The mean of the coefficients of all windows that hold a pixel is the mean of their fits there.
    return total / count


def test_otsu_and_filters_by_windows() -> None:
    """B = R > Otsu(R), G = filter(B), three times; then the highest map above its own threshold."""
    guide = F.avg_pool2d(noise(1, 26, 30), 5, 1)[0].numpy()
    maps = F.avg_pool2d(noise(2, 30, 34, seed=1)[None], 9, 1)[0].numpy()
    assert guide.shape == maps[0].shape == (22, 26)
    state = list(maps)
    for _ in range(3):
        state = [filtered(guide, (m > otsu(m)).astype(float), 7, 1e-6) for m in state]
    found = refine(torch.from_numpy(maps), torch.from_numpy(guide), 3, "threshold_and_filter", window=7)
    np.testing.assert_allclose(found.numpy(), np.stack(state), atol=1e-6)  # the box sums of ours cancel
    expected = np.zeros((22, 26), int)
    levels = [otsu(m) for m in state]
    for y, x in itertools.product(range(22), range(26)):
        above = {m[y, x]: k for m, k, t in zip(state, (3, 5), levels, strict=True) if m[y, x] > t}
        expected[y, x] = above[max(above)] if above else 0
    assert threshold_labels(torch.from_numpy(np.stack(state)), [3, 5]).tolist() == expected.tolist()
    assert set(expected.flat) == {0, 3, 5}


@pytest.mark.parametrize("sharpness", [1.0, 100.0])
def test_maps_spread_along_all_affinities(sharpness: float) -> None:
    """R = T A' with the whole matrix of 2500 x 2500, then stretched to [0, 1] map by map."""
    maps, features = noise(2, 50, 50), noise(3, 50, 50, seed=1) / 10
    weights = torch.exp(-distances(features.flatten(1).T)) ** sharpness
    spread = (weights / weights.sum(1, keepdim=True)) @ maps.flatten(1).T
    low, high = spread.min(0).values, spread.max(0).values
    expected = ((spread - low) / (high - low).clamp(min=1e-5)).T.view(2, 50, 50)
    # float64; a nearly flat map is stretched up to 1e5 times
    torch.testing.assert_close(labels.walk(maps, features, sharpness), expected, rtol=0, atol=1e-8)
