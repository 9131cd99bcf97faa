"""Networks on a CUDA device against the same weights on the CPU: outputs, gradients, bfloat16."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tag2mask.backbones import Backbone, build_backbone, fold_batchnorm
from tag2mask.heads import AffinityHead, BoundaryHead, CAMHead, MultiScaleMax, SmpSegmenter, build_segmenter
from tag2mask.recipes.ial.propagation import PropagationNetwork

BACKBONES = ("resnet38", "vgg16", "mobilenetv2_100", "tf_efficientnet_lite0", "resnet50", "test_resnet")
SIDE = 64
BARS = {torch.float64: 1e-9, torch.float32: 1e-3}
"""Relative norms. In float64 only the order of sums differs; float32 loses digits in every layer."""


def backbone(name: str) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(name, "none", 8).eval()


def images(kind: torch.dtype = torch.float32) -> Tensor:
    return torch.randint(0, 256, (2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0)).to(kind)


def run_on(device: torch.device, network: nn.Module, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """Output, and the gradient by all weights as one vector."""
    there = copy.deepcopy(network).to(device, kind)
    out = there(images(kind).to(device))
    out = torch.cat([v.flatten() for v in out.values()]) if isinstance(out, dict) else out.flatten()
    out.square().mean().backward()
    slopes = [p.grad.flatten().cpu() for p in there.parameters() if p.grad is not None]
    return out.detach().cpu(), torch.cat(slopes)


def assert_same(device: torch.device, network: nn.Module, kind: torch.dtype = torch.float64) -> None:
    for expected, found in zip(
        run_on(torch.device("cpu"), network, kind), run_on(device, network, kind), strict=True
    ):
        assert expected.norm() > 0 and expected.isfinite().all()
        assert (found - expected).norm() <= BARS[kind] * expected.norm()


class _CamNetwork(nn.Module):
    """Backbone and CAM head: both of the head's answers."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.backbone = backbone(name)
        self.head = CAMHead(self.backbone.taps["out"].channels, 6).eval()

    def forward(self, batch: Tensor) -> Tensor:
        features = self.backbone(batch)["out"]
        return torch.cat([self.head(features).flatten(), self.head.cam(features).flatten()])


class _AffinityNetwork(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.backbone = backbone(name)
        self.head = AffinityHead.for_backbone(self.backbone)

    def forward(self, batch: Tensor) -> Tensor:
        features: Tensor = self.head(self.backbone(batch))
        return features


class _BoundaryNetwork(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.backbone = backbone(name)
        self.head = BoundaryHead(self.backbone.taps)
        self.backbone.use_only(self.head.names)

    def forward(self, batch: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(batch))
        return logits


@pytest.mark.parametrize("name", BACKBONES)
def test_classifier(device, name):
    assert_same(device, _CamNetwork(name))


@pytest.mark.parametrize("name", BACKBONES)
def test_affinity_network(device, name):
    assert_same(device, _AffinityNetwork(name))


@pytest.mark.parametrize("name", BACKBONES)
def test_boundary_network(device, name):
    assert_same(device, _BoundaryNetwork(name), torch.float32)


@pytest.mark.parametrize("head", ["resnet38", "largefov", "deeplabv2", "deeplabv3plus"])
def test_segmentation_network(device, head):
    torch.manual_seed(1)
    assert_same(device, build_segmenter(head, backbone("mobilenetv2_100"), 6).eval())


def test_segmentation_network_of_the_paper(device):
    assert_same(device, build_segmenter("resnet38", backbone("resnet38"), 20).eval(), torch.float32)


def test_several_scales(device):
    torch.manual_seed(1)
    network = build_segmenter("deeplabv2", backbone("test_resnet"), 6)
    # float32: in float64 the two resizes still differ by 1e-8, since their scales are float32
    assert_same(device, MultiScaleMax(network, [0.5, 0.75]).eval(), torch.float32)


@pytest.mark.parametrize("arch", ["unet", "deeplabv3plus"])
def test_network_of_smp(device, arch):
    torch.manual_seed(1)
    assert_same(device, SmpSegmenter(arch, "resnet18", "none", 6).eval(), torch.float32)


def test_propagation_network(device):
    class OnImages(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.network = PropagationNetwork(backbone("test_resnet"), 4)

        def forward(self, batch: Tensor) -> Tensor:
            maps = batch.mean(1, keepdim=True).repeat(1, 4, 1, 1) / 255
            refined: Tensor = self.network(batch, maps)[0]
            return refined

    assert_same(device, OnImages().eval(), torch.float32)


@pytest.mark.parametrize("name", BACKBONES)
def test_bfloat16_is_near_float32(device, name):
    """Eight bits of mantissa through all layers: some percent of the features."""
    network = _CamNetwork(name).to(device)
    with torch.no_grad():
        expected = network(images().to(device))
        with torch.autocast(device.type, dtype=torch.bfloat16):
            found = network(images().to(device)).float()
    assert found.isfinite().all()
    assert (found - expected).norm() <= 0.1 * expected.norm()


@pytest.mark.parametrize("name", BACKBONES)
def test_folded_batchnorm_in_channels_last(device, name):
    network = backbone(name).to(device)
    folded: Callable[[Tensor], dict[str, Tensor]] = fold_batchnorm(
        network, torch.zeros(1, 3, SIDE, SIDE, device=device)
    )
    with torch.no_grad():
        expected, found = network(images().to(device))["out"], folded(images().to(device))["out"]
    assert (found - expected).norm() <= 1e-3 * expected.norm()
