"""Which images a report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tag2mask.artifacts import find_kind
from tag2mask.core import spread
from tag2mask.report.runs import Run, Step

SHOWN = ("maps", "labels", "segmentation")
"""Results that are scored like these are shown."""


def is_shown(step: Step) -> bool:
    """Whether a step's results are pictures."""
    return find_kind(step.manifest.kind).scored_as in SHOWN


def choose_images(runs: Sequence[Run], count: int) -> list[tuple[str, str]]:
    """Pick images to show: the same ones every time.

    Half of them are spread evenly over each split; the others are those with the lowest and the highest
    scores in the first run. Without scores all are spread. Images that every step of every run has a
    result for come first.

    Args:
        runs: the runs to compare.
        count: images in all; the splits share them.

    Returns:
        pairs (split, image id), splits in the order of the steps.
    """
    lists: dict[str, list[list[str]]] = {}
    for run in runs:
        for step in run.steps:
            if is_shown(step) and step.manifest.image_ids:
                lists.setdefault(step.manifest.split, []).append(step.manifest.image_ids)
    chosen: list[tuple[str, str]] = []
    for index, (split, found) in enumerate(lists.items()):
        share = (count - len(chosen)) // (len(lists) - index)
        common = set(found[0]).intersection(*found[1:])
        ids = [i for i in found[0] if i in common] or found[0]
        share = min(share, len(ids))
        chosen += [(split, image_id) for image_id in _of_split(ids, _scores(runs[0], split), share)]
    return chosen


def _of_split(ids: Sequence[str], scores: Mapping[str, float], share: int) -> list[str]:
    ranked = sorted((i for i in ids if i in scores), key=lambda i: scores[i])
    extreme = share // 4 if len(ranked) >= 2 * share else 0
    ends = ranked[:extreme] + ranked[len(ranked) - extreme :]
    rest = [i for i in ids if i not in set(ends)]
    chosen = {*ends, *spread(rest, share - len(ends))}
    return [i for i in ids if i in chosen]


def _scores(run: Run, split: str) -> dict[str, float]:
    """Of each image of a split, after the last step that scored images."""
    found = [s.image_scores for s in run.steps if is_shown(s) and s.manifest.split == split]
    return next((scores for scores in reversed(found) if scores), {})
