"""Copies of a chain with other settings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from tag2mask.core import ScoreMaps
from tag2mask.modules.background import Background, highest_scores
from tag2mask.ops.lattice import CRF_SETS
from tag2mask.tune.chain import Trial

_LEVELS = (0.16, 0.22, 0.28, 0.34, 0.40, 0.48, 0.56, 0.64, 0.72, 0.80, 0.88)
"""CAM scores from which on an object may begin: from generous labels to scarce ones."""
_AT_ONCE = 6
"""Levels that are tried."""
_MOST_FOREGROUND = 0.6
"""Share of the pixels above the first of them, unless they are the highest: larger labels raise an alarm."""
_FACTORS = (0.5, 2.0)
"""Of the walk's present beta."""


def level_trials(before: Trial, maps: Sequence[ScoreMaps]) -> list[Trial]:
    """Other background levels, as many for all maps: flat ones need high levels.

    Args:
        before: what they replace the level of.
        maps: of images of the data set.
    """
    scores = highest_scores(maps)
    too_low = sum((scores > level).sum() > _MOST_FOREGROUND * scores.size for level in _LEVELS)
    first = min(too_low, len(_LEVELS) - _AT_ONCE)
    levels = _LEVELS[first : first + _AT_ONCE] if _has(before, "Background") else ()
    return [
        changed(before, f"level {level:.2f}", "Background", fixed_level(level))
        for level in levels
        if level != present_level(before, maps)
    ]


def fixed_level(level: float | None = None, alpha: float | None = None) -> dict[str, float | None]:
    """Arguments of a `Background` that keeps a level, or an alpha, whatever the maps are."""
    return {"alpha": alpha, "level": level, "most_foreground": None}


def beta_trials(before: Trial, maps: Sequence[ScoreMaps]) -> list[Trial]:
    """Other powers of the affinities; the maps do not matter."""
    betas = [float(link["init_args"].get("beta", 8.0)) for link in _links(before, "RandomWalk")]
    return [
        changed(before, f"beta {beta:g}", "RandomWalk", {"beta": beta})
        for beta in dict.fromkeys(beta * factor for beta in betas[:1] for factor in _FACTORS)
    ]


def crf_trials(before: Trial, maps: Sequence[ScoreMaps]) -> list[Trial]:
    """Other parameter sets of the CRF, and none; the maps do not matter."""
    present = [link["init_args"].get("params", "cam") for link in _links(before, "DenseCRF")]
    sets = [name for name in CRF_SETS if present and name not in present]
    none = [changed(before, "no CRF", "DenseCRF", {"enabled": False})] if present else []
    return [*(changed(before, f"CRF {name}", "DenseCRF", {"params": name}) for name in sets), *none]


def present_level(trial: Trial, maps: Sequence[ScoreMaps]) -> float | None:
    """The background level that a trial has with these maps; None without a background."""
    links = trial.refinements(maps) if _has(trial, "Background") else []
    levels = (_level_of(link.alpha) for link in links if isinstance(link, Background) and link.enabled)
    return next(levels, None)


def change(before: Trial, after: Trial, maps: Sequence[ScoreMaps]) -> float:
    """How far a trial is from another: by the difference of their levels; other changes count 1."""
    if before.links == after.links:
        return 0.0
    one, other = present_level(before, maps), present_level(after, maps)
    return 1.0 if one is None or other is None or one == other else abs(one - other)


def _level_of(alpha: float) -> float:
    """The inverse of `tag2mask.ops.alpha_for_level`, by halving."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        above = alpha * math.log1p(-middle) > math.log(middle)
        low, high = (middle, high) if above else (low, middle)
    return round(low, 6)


def changed(before: Trial, name: str, kind: str, arguments: Mapping[str, Any]) -> Trial:
    """A trial whose links of a class have other arguments; its name tells what differs."""
    after = Trial(name if before.name == "as it is" else f"{before.name}, {name}", deepcopy(before.links))
    for link in _links(after, kind):
        link["init_args"] |= arguments
    return after


def until(trial: Trial, kind: str) -> Trial | None:
    """A trial up to its last link of a class; None without one."""
    kept, found = dict(trial.links), False
    for step, links in reversed(trial.links.items()):
        places = [n for n, link in enumerate(links) if link["class_path"].endswith(f".{kind}")]
        if places:
            kept[step], found = links[: places[-1] + 1], True
            break
        del kept[step]
    return Trial(trial.name, kept) if found else None


def _has(trial: Trial, kind: str) -> bool:
    return any(True for _ in _links(trial, kind))


def _links(trial: Trial, kind: str) -> Iterator[dict[str, Any]]:
    """The links of a class that are not left out."""
    for link in (link for links in trial.links.values() for link in links):
        if link["class_path"].endswith(f".{kind}") and link.setdefault("init_args", {}).get("enabled", True):
            yield link
