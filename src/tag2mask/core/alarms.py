"""Alarms: signs that a result is of little or no use, found without masks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

STEPS_METRIC = "train/steps"
"""Logged by every training: the steps of its optimiser."""
FEWEST_STEPS = 60
"""A training with fewer steps has hardly left its first weights: new layers need some hundred."""
ABOVE_CHANCE_METRIC, SPREAD_METRIC = "val/above_chance", "val/spread"
"""Logged by classifiers: see `tag2mask.metrics.AboveChance` and `ScoreSpread`."""
LEAST_ABOVE_CHANCE = 0.2
"""Of the way from guessing to a perfect order of the images."""
LEAST_SPREAD = 0.01
"""Between the highest and the lowest score of a class among the images."""


@dataclass(frozen=True)
class Alarm:
    """One sign of a result that is of little or no use.

    Attributes:
        name: what kind of sign, e.g. ``few_steps``.
        text: what was seen, with numbers.
        todo: what to do next; RUN stands for the run's folder in commands.
        unusable: whether nothing that reads this result can come to anything.
        tuned: what to do instead where `tag2mask tune` works on the run; "" for the same.
    """

    name: str
    text: str
    todo: str
    unusable: bool = False
    tuned: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return asdict(self)

    def advice(self, run: str | PurePath, tunes: bool) -> str:
        """What to do next, with commands as they are typed for a run's folder.

        Args:
            run: the folder.
            tunes: whether `tag2mask tune` works on it.
        """
        words = self.tuned if tunes and self.tuned else self.todo
        return re.sub(r"\bRUN\b", lambda _: shlex.quote(str(run)), words)


def training_alarms(metrics: Mapping[str, Any]) -> list[Alarm]:
    """Alarms about a training, from what it has logged.

    Args:
        metrics: name -> last value; what was not logged raises no alarm.
    """
    found = []
    steps = metrics.get(STEPS_METRIC)
    if steps is not None and steps < FEWEST_STEPS:
        found.append(
            Alarm(
                "few_steps",
                f"trained for {steps:.0f} step{'s' * (steps != 1)} of the optimiser only",
                "train longer: --trainer.min_steps 200 behind -- shows few images several times an epoch "
                "(the small budget has 60 for a classifier, 120 for other networks)",
            )
        )
    spread, above = metrics.get(SPREAD_METRIC), metrics.get(ABOVE_CHANCE_METRIC)
    if spread is not None and above is None:
        found.append(
            Alarm(
                "nothing_to_compare",
                "each class is in all validation images or in none: nobody knows what the classifier tells",
                "add images that do not show it (untagged: negative takes those without tags)",
            )
        )
    elif spread is not None and spread < LEAST_SPREAD:
        found.append(_ignorant("the classifier gives all validation images the same scores"))
    elif above is not None and above < LEAST_ABOVE_CHANCE:
        found.append(
            _ignorant("the classifier orders the validation images hardly better than guessing would")
        )
    return found


def _ignorant(text: str) -> Alarm:
    todo = "look at the tags (tag2mask data check), start from pretrained weights (--weights), train longer"
    return Alarm("ignorant_classifier", text, todo)
