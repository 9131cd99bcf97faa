"""How the parity tests build modules: the one place to edit when an argument gets another name."""

from __future__ import annotations

from typing import Any

import torch

from tag2mask.modules import AffinityLearner
from tag2mask.modules.base import Stage
from tag2mask.modules.optim import parameter_groups
from tag2mask.recipes.ial import PairwiseLearner

LIGHT: dict[str, Any] = {"weights": "none", "output_stride": 8, "freeze_batchnorm": False}


def affinity_net(backbone: str, num_classes: int = 3, lr: float = 0.1) -> AffinityLearner:
    """AffinityNet with random weights."""
    torch.manual_seed(0)
    return AffinityLearner(num_classes, backbone=backbone, weights="none", lr=lr)


def pairwise_net(reduction: str, smoothness: float = 1.0, new_layer_factor: float = 10.0) -> PairwiseLearner:
    """IAL's pairwise network on a light guide, with the paper's rate of 1e-5 for new layers."""
    torch.manual_seed(0)
    return PairwiseLearner(
        2,
        backbone="test_resnet",
        channels=4,
        guide_channels=[8, 8, 8],
        reduction=reduction,  # type: ignore[arg-type]
        smoothness=smoothness,
        lr=1e-5 / new_layer_factor,
        new_layer_factor=new_layer_factor,
        **LIGHT,
    )


def groups_of(module: Stage) -> dict[str, dict[str, Any]]:
    """The parameter groups of a module's optimiser by name."""
    found = parameter_groups(
        module.pretrained_parts(), module.new_parts(), module.lr, module.weight_decay, module.new_layer_factor
    )
    return {group["name"]: group for group in found}
