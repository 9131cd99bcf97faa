"""The optimiser set-up that the five papers' published code shares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

BIAS_FACTOR = 2.0
"""Learning rate of biases over that of the weights beside them."""


def parameter_groups(
    pretrained: Sequence[nn.Module],
    new: Sequence[nn.Module],
    lr: float,
    weight_decay: float,
    new_factor: float = 10.0,
) -> list[dict[str, Any]]:
    """Four groups: pretrained weights 1x and biases 2x the rate, new weights 10x and biases 20x.

    Weights are parameters of two or more dimensions and the scales of group norm, as in the published
    code; biases and the parameters of other norms have no decay. Frozen parameters are left out, and so
    are empty groups.

    Args:
        pretrained: modules that start from pretrained weights.
        new: modules that start from random weights.
        lr: the base rate.
        weight_decay: of weights.
        new_factor: rate of new layers over that of pretrained ones.

    Returns:
        groups with ``params``, ``lr``, ``weight_decay`` and ``name``.
    """
    groups = []
    for part, modules, factor in (("pretrained", pretrained, 1.0), ("new", new, new_factor)):
        trainable = [p for m in modules for p in m.parameters() if p.requires_grad]
        scales = {id(m.weight) for part in modules for m in part.modules() if isinstance(m, nn.GroupNorm)}
        weights = [p for p in trainable if p.ndim > 1 or id(p) in scales]
        biases = [p for p in trainable if p.ndim <= 1 and id(p) not in scales]
        groups.append(_group(f"{part}_weights", weights, lr * factor, weight_decay))
        groups.append(_group(f"{part}_biases", biases, lr * factor * BIAS_FACTOR, 0.0))
    return [g for g in groups if g["params"]]


def _group(name: str, params: Iterable[nn.Parameter], lr: float, weight_decay: float) -> dict[str, Any]:
    return {"name": name, "params": list(params), "lr": lr, "weight_decay": weight_decay}


def poly_schedule(optimizer: Optimizer, max_steps: int, power: float = 0.9) -> LambdaLR:
    """lr_i = lr_0 * (1 - step / max_step) ** power, as set before the update of each step.

    Args:
        optimizer: its groups keep their ratios.
        max_steps: updates of the whole training.
        power: 0.9 in all five papers but IAL's pairwise network.

    Raises:
        ValueError: max_steps is below 1.
    """
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
    return LambdaLR(optimizer, lambda step: max(0.0, 1 - step / max_steps) ** power)
