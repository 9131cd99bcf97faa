"""Compares settings on some images of a run, and chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tag2mask.core import ScoreMaps, spread
from tag2mask.tune.bench import Bench, Row, Seen, tagged_images
from tag2mask.tune.chain import Chain, Trial
from tag2mask.tune.choice import DECIDING, Gain, choose, gain
from tag2mask.tune.trials import beta_trials, change, crf_trials, level_trials

SIGNALS = (*DECIDING, "views", "walk and CRF", "foreground")
"""What is measured and shown."""
Stage = Callable[[Trial, Sequence[ScoreMaps]], list[Trial]]
STAGES: tuple[Stage, ...] = (level_trials, beta_trials, crf_trials)

Judge = Callable[[Trial], list[Row]]
Choose = Callable[[Sequence[Sequence[Row]], Sequence[float]], int]


@dataclass
class Comparison:
    """Signals of each trial.

    Attributes:
        trials: what was tried, in order.
        rows: for each trial, what the signals say of each image.
        stages: numbers of the trials that were compared with each other, in turn: the present one first.
        images: ids of the images.
        chosen: number of the trial that is chosen.
    """

    trials: list[Trial] = field(default_factory=list)
    rows: list[list[Row]] = field(default_factory=list)
    stages: list[list[int]] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    chosen: int = 0

    def add(self, trial: Trial, rows: list[Row]) -> int:
        """Note a trial, and give its number."""
        self.trials.append(trial)
        self.rows.append(rows)
        return len(self.trials) - 1

    @property
    def signals(self) -> list[Row]:
        """For each trial, the mean of each signal over the images."""
        return [{name: float(np.mean([row[name] for row in rows])) for name in rows[0]} for rows in self.rows]

    @property
    def gains(self) -> list[Gain | None]:
        """What each trial gains over the one that was present when it was tried; None for the first."""
        found: list[Gain | None] = [None] * len(self.trials)
        for present, *others in self.stages:
            for number in others:
                found[number] = gain(self.rows[number], self.rows[present])
        return found

    @property
    def tells(self) -> bool:
        """Whether the deciding signals differ between any two trials."""
        return len({tuple(signals[name] for name in DECIDING) for signals in self.signals}) > 1

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        trials = [
            {
                "name": trial.name,
                "signals": signals,
                "gain": found and found.to_dict(),
                "settings": trial.settings(),
            }
            for trial, signals, found in zip(self.trials, self.signals, self.gains, strict=True)
        ]
        chosen = self.trials[self.chosen].name
        return {"trials": trials, "stages": self.stages, "images": self.images, "chosen": chosen}


def tune(chain: Chain, images: int, seen: Seen = lambda *_: None) -> Comparison:
    """Try settings on some tagged images of a run, spread evenly over its list, and choose.

    Args:
        chain: how the run makes its labels.
        images: how many tagged images to look at.
        seen: gets all labels.

    Raises:
        UserError: the run lacks a network or a map, or no image is tagged.
    """
    ids = spread(tagged_images(chain), images)
    bench = Bench(chain, ids, seen)
    found = search(chain.trial(), bench.judge, bench.examples)
    found.images = ids
    return found


def search(
    start: Trial,
    judge: Judge,
    examples: Sequence[ScoreMaps],
    choose: Choose = choose,
    stages: Sequence[Stage] = STAGES,
) -> Comparison:
    """Try levels, then powers of the walk, then CRFs, each with what was chosen before.

    Args:
        start: what stays where nothing is better.
        judge: gives the rows of a trial.
        examples: maps of the data set, which say what levels to try.
        choose: gives the number of a trial from the rows of all, the present one first, and their changes.
        stages: each gives trials beside what was chosen before.
    """
    found = Comparison()
    found.add(start, judge(start))
    for stage in stages:
        present = found.trials[found.chosen]
        places = [found.chosen, *(found.add(trial, judge(trial)) for trial in stage(present, examples))]
        found.stages.append(places)
        changes = [change(present, found.trials[place], examples) for place in places]
        found.chosen = places[choose([found.rows[place] for place in places], changes)]
    return found
