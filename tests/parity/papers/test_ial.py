"""Parity of `ial` (Wang et al., IJCV 2020) with plain forms of its equations and of SPN's published code."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.parity.papers.common import groups_of, pairwise_net

SIDE = 32
IMAGES, PATCHES = 2, 2


def patches() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    shape = (IMAGES, PATCHES, SIDE, SIDE)
    labels = torch.randint(0, 3, shape, generator=generator)
    labels[:, 1, : SIDE // 2] = 255
    maps = torch.rand(IMAGES, PATCHES, 3, SIDE, SIDE, generator=generator).softmax(2)
    images = torch.randint(0, 256, (IMAGES, PATCHES, 3, SIDE, SIDE), generator=generator).float()
    place = torch.arange(SIDE) // 8
    return {
        "image": images,
        "maps": maps,
        "label": labels,
        "superpixels": (place[:, None] * 4 + place).expand(shape),
    }


def terms(net: Any, batch: dict[str, Any]) -> tuple[float, int, float]:
    """-sum of log alpha_p over known pixels (equation 7), their number, and L_s (equation 8), in loops."""
    images, maps = batch["image"].flatten(0, 1), batch["maps"].flatten(0, 1)
    labels, superpixels = batch["label"].flatten(0, 1), batch["superpixels"].flatten(0, 1)
    with torch.no_grad():
        logits, gates = net(images, maps)
    refined = logits.double().softmax(1)
    total, known = 0.0, 0
    for patch, rows in enumerate(labels.tolist()):
        for y, row in enumerate(rows):
            for x, label in enumerate(row):
                if label != 255:
                    total -= float(refined[patch, label, y, x].log())
                    known += 1
    squares = []
    for patch in range(len(gates)):
        small = superpixels[patch][1::2, 1::2]
        for region in small.unique():
            inside = gates[patch].double().flatten(0, 2)[:, small == region]
            squares.append((inside - inside.mean(1, keepdim=True)).square().flatten())
    return total, known, float(torch.cat(squares).mean())


@pytest.mark.parametrize("smoothness", [0.0, 1.0])
def test_the_loss_is_a_sum_over_pixels_divided_by_the_patches(smoothness: float) -> None:
    """`normalize: false` of SPN's code; each pixel of a patch has one L_s beside its cross-entropy."""
    batch = patches()
    net = pairwise_net("sum_per_patch", smoothness).eval()
    total, known, squares = terms(net, batch)
    found = float(net.training_step(batch, 0).detach())
    expected = total / (IMAGES * PATCHES) + smoothness * SIDE * SIDE * squares
    assert known < IMAGES * PATCHES * SIDE * SIDE
    assert found == pytest.approx(expected, rel=1e-5)  # float32 sums of about a thousand terms
    mean = pairwise_net("mean", smoothness).eval()
    assert float(mean.training_step(batch, 0).detach()) == pytest.approx(
        total / known + smoothness * squares, rel=1e-5
    )


def test_guide_and_embedding_learn_at_a_tenth_of_the_rate() -> None:
    net = pairwise_net("sum_per_patch")
    rates = {id(p): group["lr"] for group in groups_of(net).values() for p in group["params"]}
    by_part = {
        name: rates[id(p)]
        for name, p in net.network.named_parameters()
        if name.endswith("weight") and p.ndim > 1
    }
    slow = {name for name, rate in by_part.items() if rate == pytest.approx(1e-6)}
    assert slow == {name for name in by_part if name.startswith(("backbone.", "embed."))}
    assert all(rate == pytest.approx(1e-5) for name, rate in by_part.items() if name not in slow)
    assert "embed.weight" in slow and "read.0.weight" not in slow
