"""Whether the scores of a run lie where the paper's are, and the first step whose score does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tag2mask.core.library import FULL
from tag2mask.core.tables import percent
from tag2mask.pipeline.settings import Settings
from tag2mask.pipeline.steps import Recipe

_DATA = ("voc_aug",)
"""Data sets on which the papers' numbers were measured: trained on 10,582 images."""
_CHECK = {
    "classifier": "check weights, output stride, learning rate",
    "affinity": "check the labels it learns from, learning rate",
    "pseudo_labels": "check the backgrounds (alpha), and beta and steps of a walk",
    "segmentation": "check weights, the size of the batch, learning rate and steps",
}
"""Script of a step -> what most often moves its score."""

Score = Mapping[str, Any]


def outside_line(recipe: Recipe, settings: Settings, scores: Mapping[str, Score | None], name: str) -> str:
    """What to say of a step whose score lies outside the range that the recipe's page gives; "" for nothing.

    Ranges hold for the paper's schedule, network and data set; nothing is said of other runs. Of maps the
    fixed and the best threshold count, of predictions each way of testing, of labels unknown pixels left out
    and as wrong ones: papers differ in which they report, and one of them inside the range is enough.

    Args:
        recipe: the recipe, or its variant.
        settings: what the run shares.
        scores: name of each step -> its score, None where there is none.
        name: the step.
    """
    if not _comparable(settings) or not (text := _outside(recipe, name, scores.get(name))):
        return ""
    first = next(s for s in recipe.steps if _outside(recipe, s.name, scores.get(s.name)))
    if first.name != name:
        return f"{text}; the first step outside its range was {first.name}"
    return f"{text}; {_CHECK[first.script]}"


def _comparable(settings: Settings) -> bool:
    return settings.data in _DATA and settings.budget in (None, FULL) and settings.backbone is None


def _outside(recipe: Recipe, name: str, score: Score | None) -> str:
    """``cam 41.2: the paper has 48.0, expected are 46.0 to 50.0``, or ""."""
    target = (recipe.paper.get("targets") or {}).get(name)
    low, high = (recipe.paper.get("ranges") or {}).get(name, (0.0, 100.0))
    # A variant has targets of its own, and the ranges of the page.
    if target is None or not low <= target <= high:
        return ""
    found = _found(score)
    if not found or any(low <= 100 * value <= high for value in found):
        return ""
    nearest = min(found, key=lambda value: abs(100 * value - target))
    return f"{name} {percent(nearest)}: the paper has {target}, expected are {low} to {high}"


def _found(score: Score | None) -> list[float]:
    if not score:
        return []
    variants = (score.get("variants") or {}).values()
    values = [score.get(name) for name in ("miou", "best_miou", "strict_miou")]
    values += [variant.get("miou") for variant in variants]
    return [float(value) for value in values if value is not None]
