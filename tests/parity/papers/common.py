"""How the parity tests build modules: the one place to edit when an argument gets another name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from unittest import mock

import torch
from torch import Tensor, nn

from tag2mask.backbones import BackboneSpec
from tag2mask.data.transforms import Augment, AugmentSpec, resize_long_side
from tag2mask.heads import HeadSpec
from tag2mask.modules import AffinityNet, InferenceSpec, Optimization, SegmentationModel, TrainableNetwork
from tag2mask.recipes.ial import PairwiseLearner, RegionClassifier
from tag2mask.recipes.ial.propagation import PropagationSpec
from tag2mask.recipes.rrm import JointModel, RegionMining
from tag2mask.recipes.sc_cam import SubCategoryClassifier
from tag2mask.recipes.self_guided import SelfGuidedModel

__all__ = ["resize_long_side"]

Network = TypeVar("Network", bound=nn.Module)

LIGHT = BackboneSpec("test_resnet", "none", batchnorm="train")


def narrow(build: Callable[[], Network], factor: int = 16) -> Network:
    """A network with its convolutions and norms a fraction as wide, random weights and statistics, float64.

    It takes no time to run, and keeps every layer, stride and dilation of the real one.
    """

    def less(channels: int) -> int:
        return channels if channels == 3 else max(1, channels // factor)

    class Conv(nn.Conv2d):
        def __init__(self, inputs: int, outputs: int, *args: Any, **more: Any) -> None:
            super().__init__(less(inputs), less(outputs), *args, **more)

    class Norm(nn.BatchNorm2d):
        def __init__(self, channels: int, *args: Any, **more: Any) -> None:
            super().__init__(less(channels), *args, **more)

    torch.manual_seed(0)
    with mock.patch.object(nn, "Conv2d", Conv), mock.patch.object(nn, "BatchNorm2d", Norm):
        network = build().double().eval()
    for name, value in network.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            value.normal_(std=0.1)
        elif "running_var" in name or value.ndim == 1:
            value.uniform_(0.5, 1.5)
    return network


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Uniform numbers from 0 to 1, float64."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def natural_image(height: int, width: int, seed: int = 0) -> Tensor:
    """Random pixels, uint8 (3, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def affinity_net(backbone: str, num_classes: int = 3, lr: float = 0.1) -> AffinityNet:
    """AffinityNet with random weights."""
    torch.manual_seed(0)
    return AffinityNet(num_classes, BackboneSpec(backbone, "none"), Optimization(lr=lr))


def pairwise_net(reduction: str, smoothness: float = 1.0, new_layer_factor: float = 10.0) -> PairwiseLearner:
    """IAL's pairwise network on a light guide, with the paper's rate of 1e-5 for new layers."""
    torch.manual_seed(0)
    return PairwiseLearner(
        2,
        LIGHT,
        Optimization(
            lr=1e-5 / new_layer_factor,
            weight_decay=5e-3,
            poly_power=0.5,
            new_layer_factor=new_layer_factor,
        ),
        PropagationSpec(channels=4, guide_channels=[8, 8, 8]),
        reduction=reduction,  # type: ignore[arg-type]
        smoothness=smoothness,
    )


def region_net(confidence: float) -> RegionClassifier:
    """IAL's region network on a light backbone."""
    torch.manual_seed(0)
    return RegionClassifier(2, LIGHT, hidden=[6, 5], confidence=confidence).eval()


def joint_model() -> JointModel:
    """RRM's network on a light backbone; maps of random weights pass its mining at these settings."""
    torch.manual_seed(0)
    rule = RegionMining(foreground_alpha=2, background_alpha=3, background_score=0.1, crf_score=0.3)
    return JointModel(2, LIGHT, head=HeadSpec("deeplabv2"), mining=rule)


def sub_category_net(sub_categories: int, **more: Any) -> SubCategoryClassifier:
    """SC-CAM's classifier on a light backbone, in eval mode."""
    torch.manual_seed(0)
    return SubCategoryClassifier(2, LIGHT, sub_categories=sub_categories, **more).eval()


def self_guided_net() -> SelfGuidedModel:
    """Self-Guided's network on a light backbone, in its localising phase and in eval mode."""
    torch.manual_seed(0)
    return SelfGuidedModel(2, LIGHT, head=HeadSpec("deeplabv2"), phase="localise").eval()


def segmentation_net(scales: Sequence[float] = (1.0,)) -> SegmentationModel:
    """DeepLab v2's head on a light backbone, in eval mode."""
    torch.manual_seed(0)
    test = InferenceSpec(scales=scales)
    return SegmentationModel(2, LIGHT, head=HeadSpec("deeplabv2"), test=test).eval()


def crop_augment(crop: int, **sizes: Any) -> Augment:
    """Scaled crops without flip and colours, padded with black."""
    return Augment(AugmentSpec(crop, flip=0, jitter=0, hue=0, pad="black", **sizes))


def groups_of(module: TrainableNetwork) -> dict[str, dict[str, Any]]:
    """The parameter groups of a module's optimiser by name."""
    optimizer = module.optimization.build_optimizer(module.pretrained_parts(), module.new_parts())
    return {group["name"]: group for group in optimizer.param_groups}
