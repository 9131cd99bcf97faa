"""Parity of `ial` (Wang et al., IJCV 2020) with plain forms of its equations and of SPN's published code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.ops import affinity_labels, normalise_gates, spatial_propagation
from tag2mask.recipes.ial.energy import energy, mined_energy
from tests.parity.papers.common import groups_of, natural_image, noise, pairwise_net, region_net

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


# --- the pairwise network -----------------------------------------------------------------------


def scanned(x: Tensor, shares: Tensor) -> Tensor:
    """h_t(i) = (1 - sum p_k) x_t(i) + sum p_k h_(t-1)(i + k), left to right; x (C, H, W), p (3, C, H, W)."""
    columns = [x[:, :, 0]]
    for t in range(1, x.shape[2]):
        before = F.pad(columns[-1], (1, 1))
        p = shares[..., t]
        moved = p[0] * before[:, :-2] + p[1] * before[:, 1:-1] + p[2] * before[:, 2:]
        columns.append((1 - p.sum(0)) * x[:, :, t] + moved)
    return torch.stack(columns, 2)


def turned(gates: Tensor, direction: int) -> Tensor:
    """Maps (..., H, W) turned so that a direction runs from left to right; the same turn brings them back."""
    gates = gates.transpose(-1, -2) if direction >= 2 else gates
    return gates.flip(-1) if direction % 2 else gates


def back(x: Tensor, direction: int) -> Tensor:
    x = x.flip(-1) if direction % 2 else x
    return x.transpose(-1, -2) if direction >= 2 else x


def shares_of(gates: Tensor) -> Tensor:
    """Gates (3, C, H, W) towards the column before, divided by sum |g|; those that leave the map are 0."""
    gates = gates.clone()
    gates[..., 0] = 0
    gates[0, :, 0] = 0
    gates[2, :, -1] = 0
    return gates / gates.abs().sum(0).clamp(min=1e-4)


def propagated(x: Tensor, gates: Tensor) -> Tensor:
    """The largest result of four directions, in two passes with the same gates (4, 3, C, H, W)."""
    for _ in range(2):
        results = [back(scanned(turned(x, d), shares_of(turned(gates[d], d))), d) for d in range(4)]
        x = torch.stack(results).amax(0)
    return x


def test_the_pairwise_network() -> None:
    """SPN: embedding at stride 2, gates of a guide joined by sums, two passes, read-out."""
    net = pairwise_net("sum_per_patch").network.eval()
    w = {name: value.double() for name, value in net.state_dict().items()}
    image, maps = natural_image(SIDE, SIDE)[None], noise(1, 3, SIDE, SIDE).softmax(1)
    with torch.no_grad():
        logits, gates = net(image, maps.float())
        features = {name: value.double() for name, value in net.backbone(image).items()}
    x = features[net.guide.names[0]]
    for index, name in enumerate(net.guide.names):
        if index:
            lateral = w.get(f"guide.lateral.{index}.weight")
            skip = features[name]
            if lateral is not None:
                skip = F.conv2d(skip, lateral, w[f"guide.lateral.{index}.bias"])
            x = F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=False) + skip
        elif f"guide.lateral.{index}.weight" in w:
            raise AssertionError("the deepest map is taken as it is")
        x = F.conv2d(x, w[f"guide.convs.{index}.weight"], w[f"guide.convs.{index}.bias"], padding=1)
    half = (SIDE // 2, SIDE // 2)
    x = F.interpolate(x, half, mode="bilinear", align_corners=False)
    x = torch.where(x > 0, x, x.exp() - 1)
    raw = F.conv2d(x, w["guide.gates.weight"], w["guide.gates.bias"], padding=1).view(4, 3, 4, *half)
    embedded = F.conv2d(maps, w["embed.weight"], w["embed.bias"], stride=2, padding=1)[0]
    y = F.interpolate(propagated(embedded, raw)[None], (SIDE, SIDE), mode="bilinear", align_corners=False)
    y = F.conv2d(y, w["read.0.weight"], w["read.0.bias"], padding=1).clamp(min=0)
    expected = F.conv2d(y, w["read.2.weight"], w["read.2.bias"], padding=1)
    # ours in float32: scans of 16 steps, twice, whose shares divide by sums that may come near 0
    torch.testing.assert_close(logits.double(), expected, rtol=1e-3, atol=1e-4)
    assert gates.shape == (1, 4, 3, 4, *half)


def test_energy_of_equation_1() -> None:
    """alpha^T (I - G) alpha with the matrix G of one direction, built from unit maps, in float64."""
    height, width = 4, 5
    gates = torch.zeros(1, 4, 3, 1, height, width, dtype=torch.float64)
    gates[:, 0] = noise(1, 3, 1, height, width) + 0.1
    units = torch.eye(height * width, dtype=torch.float64).view(-1, 1, height, width)
    spread = [spatial_propagation(u[None], normalise_gates(gates))[0, 0, 0].flatten() for u in units]
    matrix = torch.stack(spread, 1)
    torch.testing.assert_close(matrix.sum(1), torch.ones(20, dtype=torch.float64))  # G keeps a constant
    unary = noise(3, height, width, seed=1).softmax(0)
    flat = unary.flatten(1)
    expected = sum(a @ (torch.eye(20, dtype=torch.float64) - matrix) @ a for a in flat) / 20
    refined = (flat @ matrix.T).view(3, height, width)
    torch.testing.assert_close(energy(unary, refined), expected)
    labels = torch.tensor([[0, 1, 2, 255, 0]] * height)
    target = torch.zeros(3, height, width, dtype=torch.float64)
    for y, row in enumerate(labels.tolist()):
        for x, label in enumerate(row):
            if label != 255:
                target[label, y, x] = 1
    total = sum(
        t @ (torch.eye(20, dtype=torch.float64) - matrix) @ a
        for t, a in zip(target.flatten(1), flat, strict=True)
    )
    known, everywhere = mined_energy(labels, unary, refined)
    torch.testing.assert_close(known, total / 16)
    torch.testing.assert_close(everywhere, total / 20)


# --- seeds and mining ---------------------------------------------------------------------------


def test_seeds() -> None:
    """Sure foreground keeps its class, sure background becomes background, all else is unknown."""
    rng = np.random.default_rng(0)
    foreground, background = rng.integers(0, 3, (6, 7)), rng.integers(0, 3, (6, 7))
    expected = np.full((6, 7), 255)
    for place in np.ndindex(6, 7):
        if background[place] == 0:
            expected[place] = 0
        elif foreground[place] > 0:
            expected[place] = foreground[place]
    found = affinity_labels(foreground.astype(np.uint8), background.astype(np.uint8))
    assert np.array_equal(found, expected) and {0, 1, 2, 255} == set(expected.flat)


def test_region_network_and_mined_regions() -> None:
    """Mean feature of each superpixel, layers with ReLU, softmax; tagged classes above the confidence."""
    net = region_net(confidence=0.4)
    channels = net.head[0].in_features
    maps = 20 * noise(1, channels, 5, 5).float()  # random weights would tell no region from another
    net.backbone.forward = lambda images: {net.tap: maps}  # type: ignore[method-assign]
    image = natural_image(36, 40)
    regions = torch.arange(36)[:, None] // 9 * 5 + torch.arange(40) // 8
    tags = torch.tensor([1.0, 0.0])
    with torch.no_grad():
        (result,) = net.predict_step(
            [{"id": "a", "image": image, "superpixels": regions, "tags": tags, "done": False}], 0
        )
    features = maps[0].double().numpy()
    rows, columns = features.shape[1:]
    layers = [m for m in net.head if isinstance(m, torch.nn.Linear)]
    expected, confidences = np.full((36, 40), 255), []
    for region in range(20):
        pixels = [(y, x) for y in range(36) for x in range(40) if regions[y, x] == region]
        values = [features[:, int((y + 0.5) * rows / 36), int((x + 0.5) * columns / 40)] for y, x in pixels]
        x = np.mean(values, 0)
        for index, layer in enumerate(layers):
            x = layer.weight.detach().double().numpy() @ x + layer.bias.detach().double().numpy()
            x = np.maximum(x, 0) if index < len(layers) - 1 else x
        chances = np.exp(x) / np.exp(x).sum()
        chances[2] = 0  # not among the tags
        confidences.append(chances.max())
        if chances.max() > 0.4:
            for place in pixels:
                expected[place] = chances.argmax()
    assert np.array_equal(result.labels[""], expected)
    assert 255 in expected and (expected != 255).any()
    np.testing.assert_allclose(result.confidence[::9, ::8].ravel(), confidences, rtol=1e-4)  # float32
