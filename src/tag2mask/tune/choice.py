"""The rule of the choice: the smallest change that is as good as the best, as far as the noise lets tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tag2mask.tune.bench import Row

DECIDING = ("classifier", "edges")
"""Signals that count (docs/tuning.md says how well they rank settings)."""
CLEAR = 1.5
"""Standard errors from which on a difference is more than noise."""


@dataclass(frozen=True)
class Gain:
    """How much better the labels of a setting look than those of another on the same images.

    Attributes:
        mean: of the images' differences in score.
        error: its standard error; infinite for a single image.
    """

    mean: float
    error: float

    @property
    def is_clear(self) -> bool:
        """Whether the difference is larger than what other images could have made of it."""
        return self.mean > CLEAR * self.error

    def to_dict(self) -> dict[str, float | bool | None]:
        """Plain form for JSON, which has no infinity: an unknown error is None."""
        error = self.error if math.isfinite(self.error) else None
        return {"mean": self.mean, "error": error, "clear": self.is_clear}


def score(row: Row) -> float:
    """What an image's labels are worth: the mean of the deciding signals."""
    return float(np.mean([row[name] for name in DECIDING]))


def gain(rows: Sequence[Row], present: Sequence[Row]) -> Gain:
    """The gain of a setting, by pairs: images differ from each other more than settings do.

    Args:
        rows: of its labels, one for each image.
        present: of the labels it would replace, for the same images.
    """
    differences = [score(new) - score(old) for new, old in zip(rows, present, strict=True)]
    count = len(differences)
    error = float(np.std(differences, ddof=1)) / math.sqrt(count) if count > 1 else math.inf
    return Gain(float(np.mean(differences)), error)


def choose(tried: Sequence[Sequence[Row]], changes: Sequence[float]) -> int:
    """Number of the setting to take: the smallest change that the best is not clearly better than.

    So what is there stays where nothing is clearly better. This is the one-standard-error rule of Breiman et
    al. (1984), with pairs of labels of an image in place of folds, and `CLEAR` errors.

    Args:
        tried: the rows of each setting, those of the present one first.
        changes: how far each is from the present one, which is 0; of equal ones the better is taken.
    """
    means = [float(np.mean([score(row) for row in rows])) for rows in tried]
    best = max(range(len(tried)), key=means.__getitem__)
    good = [n for n, rows in enumerate(tried) if n == best or not gain(tried[best], rows).is_clear]
    return min(good, key=lambda number: (changes[number], -means[number]))
