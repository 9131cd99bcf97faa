"""Parity of the DeepLab networks (Chen et al., ICLR 2015, TPAMI 2018) with plain forms of their steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.heads.segmentation import DeepLabV2Head, LargeFOVHead
from tests.parity.papers.common import natural_image, noise, segmentation_net

DOUBLE = {"rtol": 1e-9, "atol": 1e-10}  # float64 sums of some hundred terms in another order


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def atrous(x: Tensor, weight: Tensor, bias: Tensor, rate: int) -> Tensor:
    """A 3x3 convolution as nine shifted products."""
    height, width = x.shape[-2:]
    padded = F.pad(x, (rate,) * 4)
    y = bias.view(1, -1, 1, 1).expand(len(x), -1, height, width)
    for i in range(3):
        for j in range(3):
            window = padded[:, :, rate * i : rate * i + height, rate * j : rate * j + width]
            y = y + torch.einsum("oc,bchw->bohw", weight[:, :, i, j], window)
    return y


def test_four_atrous_classifiers_are_summed() -> None:
    torch.manual_seed(0)
    head = DeepLabV2Head(5, 3, stride=8).double()
    features = noise(2, 5, 20, 23) - 0.5
    expected = sum(
        atrous(features, branch.weight, branch.bias, rate)
        for branch, rate in zip(head.branches, (6, 12, 18, 24), strict=True)
    )
    torch.testing.assert_close(head({"out": features}), expected, **DOUBLE)


def test_large_field_of_view_has_a_1x1_classifier() -> None:
    torch.manual_seed(0)
    head = LargeFOVHead(5, 3).double().eval()
    features = noise(2, 5, 6, 7)
    weight, bias = head.classifier.weight[:, :, 0, 0], head.classifier.bias
    expected = torch.einsum("oc,bchw->bohw", weight, features) + bias.view(1, -1, 1, 1)
    torch.testing.assert_close(head({"out": features}), expected, **DOUBLE)


def test_cross_entropy_leaves_out_unknown_pixels_and_its_gradient() -> None:
    """Mean over known pixels at the crop's size; the gradient is softmax minus truth over their number."""
    net = segmentation_net()
    images = torch.stack([natural_image(32, 40, seed) for seed in (0, 1)])
    label = torch.randint(0, 4, (2, 32, 40), generator=torch.Generator().manual_seed(0))
    label[label == 3] = 255
    batch: Any = {"image": images, "label": label}
    found = net.training_step(batch, 0)
    found.backward()
    with torch.no_grad():
        small = net.network(images).double()
    small.requires_grad_()
    chances = enlarged(small, (32, 40)).softmax(1)
    known = label != 255
    terms = [-chances[b, label[b, y, x], y, x].log() for b, y, x in known.nonzero().tolist()]
    expected = torch.stack(terms).mean()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)  # float32
    # the gradient by the biases of the summed classifiers, from the definition of the softmax
    truth = F.one_hot(label.clamp(max=2), 3).movedim(3, 1)
    slope = ((chances - truth) * known[:, None]).detach().sum((0, 2, 3)) / known.sum()
    for branch in net.network.head.branches:
        torch.testing.assert_close(branch.bias.grad.double(), slope, rtol=1e-3, atol=1e-5)  # float32


def test_scores_of_several_sizes_and_mirror_images() -> None:
    """The mean of their probabilities at the image's size."""
    net = segmentation_net(scales=[0.5, 1.0, 1.5])
    image = natural_image(30, 44)
    with torch.no_grad():
        found = net.variant_scores(image)
        total = torch.zeros(3, 30, 44)
        for scale in (0.5, 1.0, 1.5):
            shown = enlarged(image[None].float(), (round(30 * scale), round(44 * scale)))
            for mirrored in (False, True):
                logits = net.network(shown.flip(3) if mirrored else shown)
                logits = logits.flip(3) if mirrored else logits
                total += enlarged(logits, (30, 44)).softmax(1)[0] / 6
                if scale == 1.0 and not mirrored:
                    single = enlarged(logits, (30, 44)).softmax(1)[0]
    # float32 probabilities added in another order
    torch.testing.assert_close(found["multi"], total, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found["single"], single, rtol=1e-4, atol=1e-6)
