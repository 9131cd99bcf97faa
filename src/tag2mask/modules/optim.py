"""The optimiser set-up that the papers' published code shares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tag2mask.core import UserError
from tag2mask.core.python_source import split_path

BIAS_FACTOR = 2.0
"""Learning rate of biases over that of the weights beside them."""


@dataclass(frozen=True)
class OptimizationBase:
    """An optimiser with the papers' groups of parameters; a subclass adds how the rates fall.

    Attributes:
        optimizer: class path of the optimiser.
        optimizer_args: its further arguments, e.g. ``{momentum: 0.9}``.
        lr: learning rate of pretrained weights.
        weight_decay: decay of weights; biases have none.
        new_layer_factor: learning rate of new layers over `lr`.

    Raises:
        UserError: a value lies outside its range.
    """

    optimizer: str = "torch.optim.SGD"
    optimizer_args: dict[str, Any] = field(default_factory=dict)
    lr: float = 1e-3
    weight_decay: float = 5e-4
    new_layer_factor: float = 10.0

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise UserError(f"optimization.lr must be above 0, got {self.lr}")
        if self.weight_decay < 0:
            raise UserError(f"optimization.weight_decay must be 0 or more, got {self.weight_decay}")
        if not self.new_layer_factor > 0:
            raise UserError(f"optimization.new_layer_factor must be above 0, got {self.new_layer_factor}")

    def build_optimizer(self, pretrained: Sequence[nn.Module], new: Sequence[nn.Module]) -> Optimizer:
        """The optimiser over the groups of `parameter_groups`.

        Raises:
            UserError: `optimizer` names no optimiser, or it does not take `optimizer_args`.
        """
        groups = parameter_groups(pretrained, new, self.lr, self.weight_decay, self.new_layer_factor)
        kind = _optimizer_class(self.optimizer)
        try:
            return kind(groups, **self.optimizer_args)
        except TypeError as error:
            raise UserError(
                f"optimization.optimizer_args {self.optimizer_args} do not fit {self.optimizer}: {error}"
            ) from error

    def schedule(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """How the rates of all groups change over the steps of a training; a subclass says it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Optimization(OptimizationBase):
    """An optimiser under a poly schedule; the fields of `OptimizationBase` and one more.

    Attributes:
        poly_power: exponent of the poly schedule.
    """

    poly_power: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.poly_power < 0:
            raise UserError(f"optimization.poly_power must be 0 or more, got {self.poly_power}")

    def schedule(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """The poly schedule with this exponent, over that many steps."""
        return poly_schedule(optimizer, steps, self.poly_power)


def _optimizer_class(path: str) -> type[Optimizer]:
    module, name = split_path(path)
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"optimization.optimizer: no class {path}; write e.g. torch.optim.AdamW") from error
    if not (isinstance(found, type) and issubclass(found, Optimizer)):
        raise UserError(f"optimization.optimizer: {path} is no optimiser; write e.g. torch.optim.AdamW")
    return found


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
        power: 0.9 in all papers but IAL's pairwise network.

    Raises:
        ValueError: max_steps is below 1.
    """
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
    return LambdaLR(optimizer, lambda step: max(0.0, 1 - step / max_steps) ** power)
