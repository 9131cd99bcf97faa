"""The learning rates of training in two phases."""

from __future__ import annotations

from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def two_phase_schedule(
    optimizer: Optimizer, steps: int, first: int, joint_lr: float, power: float = 0.9
) -> LambdaLR:
    """A poly schedule to 0 over the first steps, then another one from one rate for all parameters.

    As in the published training from ImageNet weights: half of it classifies only, with rates by
    group; then every group starts again from the same rate.

    Args:
        optimizer: its groups have the rates of the first phase.
        steps: of the whole training.
        first: of the first phase; 0 leaves it out.
        joint_lr: the rate that the second phase begins with.
        power: exponent of both.

    Raises:
        ValueError: `first` does not lie in 0..steps-1, or `joint_lr` is not above 0.
    """
    if not 0 <= first < steps or not joint_lr > 0:
        raise ValueError(f"first must lie in 0..{steps - 1} and joint_lr above 0, got {first} and {joint_lr}")

    def factor(base: float, step: int) -> float:
        if step < first:
            return float((1 - step / first) ** power)
        left = max(0.0, 1 - (step - first) / (steps - first))
        return float(joint_lr / base * left**power)

    return LambdaLR(optimizer, [partial(factor, group["lr"]) for group in optimizer.param_groups])
