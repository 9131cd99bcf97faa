"""Parity of `psa` (Ahn and Kwak, CVPR 2018) with plain forms of its equations and its published code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from tag2mask.backbones import Tap
from tag2mask.backbones.resnet38 import ResNet38
from tag2mask.backbones.vgg16 import VGG16
from tag2mask.heads import AffinityHead, CAMHead
from tag2mask.losses import affinity_loss
from tag2mask.losses.affinity import pair_kinds
from tag2mask.modules.optim import parameter_groups, poly_schedule
from tag2mask.ops import (
    affinity_graph,
    affinity_labels,
    background_score,
    multi_scale_cam,
    normalise_cams,
    pool_labels,
    random_walk,
)
from tests.parity.papers.common import affinity_net, groups_of, narrow, natural_image, noise
from tests.parity.papers.plain_networks import affinity_head, resnet38, vgg16

DOUBLE = {"rtol": 1e-9, "atol": 1e-10}  # float64 sums of some thousand terms in another order


# --- networks -----------------------------------------------------------------------------------


def test_resnet38() -> None:
    net = narrow(ResNet38)
    image = natural_image(50, 61)
    x = (image.double() / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    with torch.no_grad():
        found = net(image[None])
        expected = resnet38(net.state_dict(), x[None])
    for name, value in expected.items():
        assert value.shape[-2:] == (7, 8)
        # the mean and divisor of the normalisation are stored in float32
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("role", ["cam", "affinity", "segmentation"])
def test_vgg16(role: str) -> None:
    net = narrow(lambda: VGG16("none", role))  # type: ignore[arg-type]
    image = natural_image(45, 64)
    x = image.double() - torch.tensor([122.675, 116.669, 104.008]).view(3, 1, 1)
    with torch.no_grad():
        found = net(image[None])
        expected = vgg16(net.state_dict(), x[None].flip(1), role)
    for name, value in expected.items():
        assert value.shape[-2:] == (6, 8)
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-4)  # see above; values up to 255


@pytest.mark.parametrize("group_norm", [False, True])
def test_affinity_head_and_the_gradient_of_its_loss(group_norm: bool) -> None:
    torch.manual_seed(0)
    taps = {"a": Tap(6, 8), "b": Tap(5, 8), "out": Tap(7, 8)}
    head = AffinityHead(taps, tuple(taps), (8, 16, 8), group_norm=group_norm).double()
    maps = [noise(2, tap.channels, 9, 14, seed=i) - 0.5 for i, tap in enumerate(taps.values())]
    labels = torch.from_numpy(np.random.default_rng(0).choice([0, 0, 1, 2, 255], (2, 9, 14)))
    convs = [part[0].weight for part in head.reductions]
    plain = affinity_head(convs, head.mix.weight, maps, [1, 2, 1] if group_norm else None)
    features = head(dict(zip(taps, maps, strict=True)))
    torch.testing.assert_close(features, plain, **DOUBLE)
    weights = [*convs, head.mix.weight]
    found = torch.autograd.grad(affinity_loss(features, labels, engine="torch")[0], weights)
    expected = torch.autograd.grad(published_affinity_loss(plain, labels), weights)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **DOUBLE)


def published_pairs(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the sources (S,) and of their partners (34, S), as the published code lists them."""
    near = [(0, x) for x in range(1, 5)]
    near += [(y, x) for y in range(1, 5) for x in range(-4, 5) if x * x + y * y < 25]
    index = np.arange(height * width).reshape(height, width)
    sources = index[: height - 4, 4 : width - 4].ravel()
    partners = [index[y : y + height - 4, 4 + x : 4 + x + width - 8].ravel() for y, x in near]
    return sources, np.stack(partners)


def published_affinity_loss(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """1/4, 1/4 and 1/2 of the means over pairs in background, in one class, of two classes; whole batch."""
    sources, partners = (torch.from_numpy(v) for v in published_pairs(*features.shape[2:]))
    cells, names = features.flatten(2), labels.flatten(1)
    affinity = torch.exp(-(cells[:, :, partners] - cells[:, :, sources].unsqueeze(2)).abs().mean(1))
    here, there = names[:, sources][:, None], names[:, partners]
    known = (here != 255) & (there != 255)
    background = (here == 0) & (there == 0)
    foreground = (here == there) & (here > 0) & known
    different = (here != there) & known
    alike, unlike = -torch.log(affinity + 1e-5), -torch.log(1 + 1e-5 - affinity)

    def mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return (values * mask).sum() / (mask.double().sum() + 1e-5)

    return mean(alike, background) / 4 + mean(alike, foreground) / 4 + mean(unlike, different) / 2


def test_pair_masks() -> None:
    """34 offsets of 2496 sources on the 56 x 56 grid of a crop of 448, and which of them are of what kind."""
    sources, partners = published_pairs(56, 56)
    assert sources.shape == (2496,) and partners.shape == (34, 2496)
    labels = np.random.default_rng(0).choice([0, 0, 1, 2, 255], (56, 56))
    flat = labels.ravel()
    here, there = flat[sources][None], flat[partners]
    kinds = np.where(here != there, 3, np.where(here == 0, 1, 2)) * (here != 255) * (there != 255)
    found = pair_kinds(torch.from_numpy(labels)[None])[0].flatten(1).numpy()
    # the same offsets may come in another order: compare partner by partner
    ours = {tuple(row.tolist()) for row in found[:, sources]}
    assert ours == {tuple(row.tolist()) for row in kinds.astype(np.uint8)}
    assert found.astype(bool).sum() == kinds.astype(bool).sum()


def test_group_norm_of_vgg16_trains_like_pretrained_layers() -> None:
    """Convolutions of the head at 10x; its group norms at 1x with decay, their biases at 2x without."""
    net = affinity_net("vgg16", lr=0.1)
    norms = [m for m in net.head.modules() if "GroupNorm" in type(m).__name__]
    # 64, 128 and 256 channels, scale and bias each
    assert sum(p.numel() for m in norms for p in m.parameters()) == 896
    groups = groups_of(net)
    members = {name: {id(p) for p in group["params"]} for name, group in groups.items()}
    assert {id(m.weight) for m in norms} <= members["pretrained_weights"]
    assert {id(m.bias) for m in norms} <= members["pretrained_biases"]
    assert sorted(p.shape[0] for p in groups["new_weights"]["params"]) == [64, 128, 256, 448]
    assert set(groups) == {"pretrained_weights", "pretrained_biases", "new_weights"}
    rates = {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()}
    assert rates == {
        "pretrained_weights": (0.1, 5e-4),
        "pretrained_biases": (0.2, 0.0),
        "new_weights": (1.0, 5e-4),
    }


# --- classifier and its maps --------------------------------------------------------------------


def test_classification_loss_and_its_gradient() -> None:
    """Average pooling, 1x1 convolution without bias, multi-label soft margin as a mean over classes."""
    torch.manual_seed(0)
    head = CAMHead(6, 4).double().eval()
    features = (noise(3, 6, 5, 7) - 0.5).requires_grad_()
    tags = torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=torch.float64)
    loss = torch.nn.MultiLabelSoftMarginLoss()(head(features), tags)
    weight = head.classifier.weight.detach()[:, :, 0, 0]
    chance = 1 / (1 + torch.exp(-(features.detach().mean((2, 3)) @ weight.T)))
    expected = -(tags * chance.log() + (1 - tags) * (1 - chance).log()).mean(1).mean()
    torch.testing.assert_close(loss.detach(), expected, **DOUBLE)
    loss.backward()
    slope = ((chance - tags) / 12) @ weight / 35
    torch.testing.assert_close(features.grad, slope[:, :, None, None].expand(3, 6, 5, 7), **DOUBLE)


def enlarged(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, with pixel centres at half numbers and the border repeated."""
    rows, columns = values.shape
    y = np.clip((np.arange(height) + 0.5) * rows / height - 0.5, 0, rows - 1)
    x = np.clip((np.arange(width) + 0.5) * columns / width - 0.5, 0, columns - 1)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    below, right = np.minimum(top + 1, rows - 1), np.minimum(left + 1, columns - 1)
    dy, dx = (y - top)[:, None], (x - left)[None]
    upper = values[np.ix_(top, left)] * (1 - dx) + values[np.ix_(top, right)] * dx
    lower = values[np.ix_(below, left)] * (1 - dx) + values[np.ix_(below, right)] * dx
    return upper * (1 - dy) + lower * dy


def test_maps_of_four_sizes_and_their_mirror_images() -> None:
    """Bicubic sizes, ReLU in each pass, bilinear to the image, sum over passes, divided by max + 1e-5."""
    blocks = natural_image(9, 12).numpy().repeat(5, 1).repeat(5, 2)  # with edges, as a photo has
    weight = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 3))).float()

    def network(images: torch.Tensor) -> torch.Tensor:
        return torch.einsum("ki,bihw->bkhw", weight, F.avg_pool2d(images / 255 - 0.4, 8, ceil_mode=True))

    found = multi_scale_cam(network, torch.from_numpy(blocks), size=(45, 60), precision="float32")
    total = np.zeros((3, 45, 60))
    for scale in (1.0, 0.5, 1.5, 2.0):
        size = (round(60 * scale), round(45 * scale))
        small = np.asarray(Image.fromarray(blocks.transpose(1, 2, 0)).resize(size, Image.Resampling.BICUBIC))
        for mirrored in (False, True):
            pixels = small[:, ::-1] if mirrored else small
            maps = network(torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()[None])[0].numpy()
            maps = np.maximum(maps, 0)
            maps = maps[:, :, ::-1] if mirrored else maps
            total += np.stack([enlarged(m, 45, 60) for m in maps])
    tagged = [0, 2]
    expected = total[tagged] / (total[tagged].max((1, 2), keepdims=True) + 1e-5)
    # Two libraries round a resized byte differently now and then: 1/255 of a weight in one of 64 pixels.
    np.testing.assert_allclose(normalise_cams(found[tagged]).numpy(), expected, atol=2e-4)


def test_backgrounds() -> None:
    cams = noise(3, 4, 5)
    for alpha in (4, 16, 24, 32):
        expected = np.array([[(1 - cams[:, y, x].max().item()) ** alpha for x in range(5)] for y in range(4)])
        np.testing.assert_allclose(background_score(cams, alpha).numpy(), expected, rtol=1e-12)
    assert VGG16.cam_sqrt and not ResNet38.cam_sqrt  # its maps need a square root, in every pass


# --- affinity labels and the walk ---------------------------------------------------------------


def test_affinity_labels_of_two_crfs() -> None:
    """Foreground of alpha 4, background of alpha 32, else neutral; in blocks of 8 x 8 pixels."""
    rng = np.random.default_rng(0)
    # label maps in patches, so that blocks have majorities
    fg, bg = (np.kron(rng.integers(0, 3, (10, 12)), np.ones((3, 3), int))[:28, :34] for _ in range(2))
    fg[20:, 30:] = 255  # padding of the crop
    bg[20:, 30:] = 255

    def majority(labels: np.ndarray, y: int, x: int) -> int:
        votes = np.bincount(labels[8 * y : 8 * y + 8, 8 * x : 8 * x + 8].ravel(), minlength=256)[:3]
        return int(votes.argmax()) if votes.any() else 255

    expected = np.empty((4, 5), int)
    for y in range(4):
        for x in range(5):
            foreground, background = majority(fg, y, x), majority(bg, y, x)
            expected[y, x] = 0 if background == 0 else 255 if foreground == 0 else foreground
    pooled = [pool_labels(torch.from_numpy(v.astype(np.uint8))[None], 3) for v in (fg, bg)]
    found = affinity_labels(*pooled)[0]
    assert found.tolist() == expected.tolist()
    assert {0, 1, 2, 255} == set(found.flatten().tolist())


def test_walk_with_the_published_pairs() -> None:
    """W^8, columns divided by their sums, squared eight times, on maps and background; then enlarged."""
    height, width = 11, 13
    features, cams = noise(5, height, width), noise(2, height, width, seed=1)
    sources, partners = published_pairs(height, width)
    cells = features.flatten(1).numpy()
    weights = np.eye(height * width)
    for row in partners:
        values = np.exp(-np.abs(cells[:, sources] - cells[:, row]).mean(0))
        weights[sources, row] = weights[row, sources] = values
    transition = weights**8 / (weights**8).sum(0)
    for _ in range(8):
        transition = transition @ transition
    maps = torch.cat([background_score(cams, 16)[None], cams])
    expected = maps.flatten(1).numpy() @ transition
    graph = affinity_graph(features, border="psa")
    found = random_walk(graph, maps, beta=8, steps=256, tol=1e-13, engine="torch")
    np.testing.assert_allclose(found.flatten(1).numpy(), expected, atol=1e-10)  # 256 products in float64


# --- optimiser ----------------------------------------------------------------------------------


def test_steps_of_the_optimiser() -> None:
    """SGD whose momentum is the weight decay, rates of 1, 2, 10 and 20 times the base, poly 0.9, by hand."""
    torch.manual_seed(0)
    old, new = torch.nn.Conv2d(3, 4, 1).double(), torch.nn.Conv2d(4, 2, 1).double()
    base, decay, steps = 0.1, 5e-4, 5
    optimizer = torch.optim.SGD(parameter_groups([old], [new], base, decay), lr=base, momentum=5e-4)
    schedule = poly_schedule(optimizer, steps)
    parameters = [(old.weight, 1, decay), (old.bias, 2, 0), (new.weight, 10, decay), (new.bias, 20, 0)]
    plain = [p.detach().clone() for p, _, _ in parameters]
    speeds = [torch.zeros_like(p) for p in plain]
    images = noise(2, 3, 2, 2)
    for step in range(steps):
        optimizer.zero_grad()
        new(old(images)).square().mean().backward()
        for index, (parameter, factor, wanted) in enumerate(parameters):
            assert parameter.grad is not None
            slope = parameter.grad + wanted * plain[index]
            speeds[index] = slope if step == 0 else 5e-4 * speeds[index] + slope
            plain[index] = plain[index] - base * factor * (1 - step / steps) ** 0.9 * speeds[index]
        optimizer.step()
        schedule.step()
        for (parameter, _, _), expected in zip(parameters, plain, strict=True):
            torch.testing.assert_close(parameter.detach(), expected, **DOUBLE)
