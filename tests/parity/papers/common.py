"""How the parity tests build modules: the one place to edit when an argument gets another name."""

from __future__ import annotations

from typing import Any

import torch

from tag2mask.modules import AffinityLearner
from tag2mask.modules.base import Stage
from tag2mask.modules.optim import parameter_groups


def affinity_net(backbone: str, num_classes: int = 3, lr: float = 0.1) -> AffinityLearner:
    """AffinityNet with random weights."""
    torch.manual_seed(0)
    return AffinityLearner(num_classes, backbone=backbone, weights="none", lr=lr)


def groups_of(module: Stage) -> dict[str, dict[str, Any]]:
    """The parameter groups of a module's optimiser by name."""
    found = parameter_groups(
        module.pretrained_parts(), module.new_parts(), module.lr, module.weight_decay, module.new_layer_factor
    )
    return {group["name"]: group for group in found}
