"""Parity of `rrm` (Zhang et al., AAAI 2020) with plain forms of its equations and its published code."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tag2mask.heads.segmentation import ResNet38Head
from tag2mask.losses import dense_energy_loss
from tag2mask.ops import CRF_CAM, dense_crf
from tag2mask.recipes.rrm import RegionMining, reliable_labels, two_phase_schedule
from tests.parity.papers.common import joint_model, natural_image, noise

SIDE = 24


def blobs(height: int, width: int, classes: int, seed: int = 0) -> np.ndarray:
    """Maps (classes, H, W) with a bright disc each, the discs overlapping."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    maps = []
    for index in range(classes):
        cy, cx = height * (0.35 + 0.3 * index / max(1, classes - 1)), width * (0.3 + 0.4 * rng.random())
        distance = np.hypot((y - cy) / height, (x - cx) / width)
        maps.append(np.exp(-((3.5 * distance) ** 2)) * (1 + 0.1 * rng.random((height, width))))
    return np.stack(maps).astype(np.float32)


# --- mining -------------------------------------------------------------------------------------


def mined(image: torch.Tensor, cams: np.ndarray, classes: list[int], rule: dict[str, Any]) -> np.ndarray:
    """The published path, with a loop over classes and pixels."""
    scores = cams / (cams.max((1, 2), keepdims=True) + 1e-5)
    volumes = []
    for alpha in (4, 32):
        background = (1 - scores.max(0)) ** alpha
        volumes.append(np.concatenate([background[None], scores]).astype(np.float32))
    foreground, background = (dense_crf(image.numpy(), volume, CRF_CAM) for volume in volumes)
    maps = volumes[1].copy()
    winner = maps.argmax(0)
    sure = np.zeros(winner.shape, bool)
    for place in np.unique(foreground.argmax(0)):
        if place == 0:
            continue
        maps[place][winner != place] = 0
        candidates = maps[place][maps[place] > 0.1]
        if len(candidates):
            sure |= maps[place] > np.percentile(candidates, 60)
    sure |= (winner == 0) & (volumes[1][0] > 0.8)
    labels = np.full(winner.shape, 255)
    for y, x in np.argwhere(sure):
        found = foreground[:, y, x].argmax()
        label = 255 if found == 0 else classes[found - 1]
        if background[:, y, x].argmax() == 0:
            label = 0
        if max(background[0, y, x], foreground[1:, y, x].max()) >= 0.8:
            if rule.get("require_agreement") and label != [0, *classes][winner[y, x]]:
                continue
            labels[y, x] = label
    return labels


@pytest.mark.parametrize("rule", [{}, {"require_agreement": True}])
@pytest.mark.parametrize("classes", [[3], [2, 5], [1, 4, 6]])
def test_mined_labels(classes: list[int], rule: dict[str, Any]) -> None:
    image = torch.from_numpy(np.kron(natural_image(6, 8).numpy(), np.ones((1, 6, 6))).astype(np.uint8))
    cams = blobs(36, 48, len(classes))
    found = reliable_labels(image.numpy(), cams, classes, RegionMining(**rule))
    expected = mined(image, cams, classes, rule)
    assert np.array_equal(found, expected)
    # every kind of pixel occurs, or the comparison would say little
    assert {255, *classes} <= set(np.unique(expected).tolist())


# --- the joint loss -----------------------------------------------------------------------------


def batch() -> dict[str, Any]:
    coarse = torch.stack([natural_image(4, 4, seed) for seed in (0, 1)])
    images = coarse.repeat_interleave(SIDE // 4, 2).repeat_interleave(SIDE // 4, 3)
    inside = torch.ones(2, SIDE, SIDE, dtype=torch.bool)
    inside[1, :, 18:] = False
    return {"image": images, "tags": torch.tensor([[1.0, 0], [1, 1]]), "inside": inside}


def energy(image: torch.Tensor, probs: torch.Tensor, labels: torch.Tensor, roi: torch.Tensor) -> torch.Tensor:
    """-sum_i g_i sum_k s_ik (A s_k)_i at half size, over all pairs of pixels of one crop.

    Its gradient by s is -2 g (A s), as published: what autograd finds with gate and sums held, twice.
    """
    half = F.interpolate(probs[None], scale_factor=0.5, mode="bilinear", align_corners=False)[0]
    colours, known, there = image[:, ::2, ::2].double(), labels[::2, ::2], roi[::2, ::2].double()
    y, x = torch.meshgrid(*(torch.arange(n).double() for n in half.shape[1:]), indexing="ij")
    points = torch.cat([torch.stack([y, x]) / 50, colours / 15]).flatten(1)
    weights = torch.exp(-(points[:, :, None] - points[:, None]).square().sum(0) / 2)
    gate = torch.where(known == 255, 1.0, (there - half.detach().amax(0)).clamp(min=0)).flatten()
    shares = (half * there).flatten(1)
    held = (gate * (shares * (shares.detach() @ weights)).sum(0)).sum()
    return -2 * held + held.detach()


def mean_loss(chances: torch.Tensor, target: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Mean of -log of the right class's probability over the chosen pixels."""
    places = chosen.nonzero().tolist()
    assert places
    return torch.stack([-chances[b, target[b, y, x], y, x].log() for b, y, x in places]).mean()


def test_the_loss_of_a_batch_and_its_gradient() -> None:
    """L_class + L_background + L_foreground + 1e-7 L_energy, and maps of four sizes, averaged."""
    net, data = joint_model(), batch()
    net.eval()
    # the lattice's own parity is that of the operator
    net.energy.energy.forward = partial(dense_energy_loss, method="exact")  # type: ignore[method-assign]
    images, tags = data["image"].float(), data["tags"]
    inside = data["inside"]
    found = net.training_step(data, 0)
    found.backward()
    with torch.no_grad():
        features = net.backbone(images)
        weight = net.class_head.classifier.weight
        chance = F.conv2d(features["out"].mean((2, 3), keepdim=True), weight).flatten(1).sigmoid().double()
        classes = -(tags * chance.log() + (1 - tags) * (1 - chance).log()).mean(1).mean()
        grid = features["out"].shape[-2:]
        maps = []
        for scale in (1.0, 0.5, 1.5, 2.0):
            size = round(SIDE * scale)
            shown = F.interpolate(images, (size, size), mode="bilinear", align_corners=False)
            raw = F.conv2d(net.backbone(shown)["out"], weight).clamp(min=0)
            maps.append(F.interpolate(raw, grid, mode="bilinear", align_corners=False))
        cams = F.interpolate(sum(maps) / 4, (SIDE, SIDE), mode="bilinear", align_corners=False)
        small = net.network.head(features).double()
    labels = []
    for image, cam, tag in zip(data["image"], cams.numpy(), tags.numpy(), strict=True):
        present = np.flatnonzero(tag)
        labels.append(reliable_labels(image.numpy(), cam[present], [int(k) + 1 for k in present], net.mining))
    target = torch.from_numpy(np.stack(labels)).long().masked_fill(~inside, 255)
    small.requires_grad_()
    chances = F.interpolate(small, (SIDE, SIDE), mode="bilinear", align_corners=False).softmax(1)
    expected = mean_loss(chances, target, target == 0)
    expected = expected + mean_loss(chances, target, (target > 0) & (target != 255))
    parts = torch.stack([energy(data["image"][b], chances[b], target[b], inside[b]) for b in range(2)])
    # the weight is meant for 160 x 160 pixels
    drawn = 1e-7 * (160 * 160 / (SIDE / 2) ** 2) ** 2 * parts.mean()
    (expected + drawn).backward()
    total = float((classes + expected + drawn).detach())
    assert float(found.detach()) == pytest.approx(total, rel=1e-4)  # float32 networks and energy
    assert abs(float(drawn.detach())) > 0.01 * total
    assert small.grad is not None
    for branch in net.network.head.branches:
        # float32; the bias's gradient is the sum over the map, in which most of it cancels
        torch.testing.assert_close(branch.bias.grad.double(), small.grad.sum((0, 2, 3)), rtol=1e-3, atol=1e-5)


def test_segmentation_branch() -> None:
    """3x3 with dilation 12 to 512 channels and ReLU, 3x3 with dilation 12 to the classes, with biases."""
    torch.manual_seed(0)
    head = ResNet38Head(5, 3).double()
    features = noise(1, 5, 9, 11) - 0.5
    x = features
    for name in ("conv", "classifier"):
        weight, bias = (getattr(getattr(head, name), part) for part in ("weight", "bias"))
        padded = F.pad(x, (12, 12, 12, 12))
        y = bias.view(1, -1, 1, 1)
        for i in range(3):
            for j in range(3):
                window = padded[:, :, 12 * i : 12 * i + 9, 12 * j : 12 * j + 11]
                y = y + torch.einsum("oc,bchw->bohw", weight[:, :, i, j], window)
        x = y.clamp(min=0) if name == "conv" else y
    # float64 sums of some thousand terms in another order
    torch.testing.assert_close(head({"out": features}), x, rtol=1e-9, atol=1e-10)


# --- schedules ----------------------------------------------------------------------------------


def test_rates_of_both_published_trainings() -> None:
    """From ImageNet: groups by 1, 2, 10, 20 fall to 0 in the first half; then all start again from 7e-4."""
    layers = [torch.nn.Linear(1, 1, bias=False) for _ in range(4)]
    groups = [{"params": m.parameters(), "lr": 0.01 * f} for m, f in zip(layers, (1, 2, 10, 20), strict=True)]
    optimizer = torch.optim.SGD(groups, lr=0.01)
    schedule = two_phase_schedule(optimizer, steps=20, first=10, joint_lr=7e-4)
    for step in range(20):
        rates = [group["lr"] for group in optimizer.param_groups]
        left = (1 - (step % 10) / 10) ** 0.9
        wanted = [0.01 * f * left for f in (1, 2, 10, 20)] if step < 10 else [7e-4 * left] * 4
        assert rates == pytest.approx(wanted)
        optimizer.step()
        schedule.step()
