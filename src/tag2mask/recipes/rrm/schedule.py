"""The learning rates of training in two phases."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tag2mask.core import UserError
from tag2mask.modules import Optimization


@dataclass(frozen=True)
class JointOptimization(Optimization):
    """The optimiser of the joint network; the fields of `Optimization` and two more.

    Attributes:
        classify_only: share of the training, from its start, with the classification loss alone.
        joint_lr: rate of all parameters when the other losses set in, where classify_only is above 0.

    Raises:
        UserError: a value lies outside its range.
    """

    classify_only: float = 0.0
    joint_lr: float = 7e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.classify_only < 1:
            raise UserError(f"optimization.classify_only must be a share below 1, got {self.classify_only}")
        if not self.joint_lr > 0:
            raise UserError(f"optimization.joint_lr must be above 0, got {self.joint_lr}")

    def first_steps(self, steps: int) -> int:
        """Steps with the classification loss alone, of all the steps of a training."""
        return int(self.classify_only * steps)

    def schedule(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """The poly schedule; with a first phase, see `two_phase_schedule`."""
        if self.classify_only == 0:
            return super().schedule(optimizer, steps)
        return two_phase_schedule(optimizer, steps, self.first_steps(steps), self.joint_lr, self.poly_power)


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
