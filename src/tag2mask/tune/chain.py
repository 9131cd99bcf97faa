"""The chain from a run's maps to its labels, and copies of it with other settings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tag2mask.core import ScoreMaps, UserError
from tag2mask.core.plugins import is_trusted
from tag2mask.modules.background import highest_scores
from tag2mask.modules.refinements import CRF_SETS, Refinement, look_ahead
from tag2mask.report.runs import Run, Step, read_config, read_runs

_GENERATOR = "PseudoLabelGenerator"
_LEVELS = (0.16, 0.22, 0.28, 0.34, 0.40, 0.48, 0.56, 0.64, 0.72, 0.80, 0.88)
"""CAM scores from which on an object may begin: from generous labels to scarce ones."""
_AT_ONCE = 6
"""Levels that are tried."""
_MOST_FOREGROUND = 0.6
"""Share of the pixels above the first of them, unless they are the highest: larger labels raise an alarm."""
_FACTORS = (0.5, 2.0)
"""Of the walk's present beta."""

Links = dict[str, list[dict[str, Any]]]
"""Step -> its refinements, as in its settings."""


@dataclass(frozen=True)
class Trial:
    """A chain with other settings.

    Attributes:
        name: what differs, e.g. ``level 0.28``.
        links: the refinements of each step.
    """

    name: str
    links: Links

    def refinements(self, maps: Sequence[ScoreMaps]) -> list[Refinement]:
        """The links, first one first, ready for the images of the data set.

        Args:
            maps: of images of the data set, for the links that want to see them.

        Raises:
            UserError: a class is of no registered package, or does not take its settings.
        """
        links = [_build(link) for links in self.links.values() for link in links]
        look_ahead(links, lambda: maps)
        return links

    def settings(self) -> dict[str, dict[str, Any]]:
        """What to set in each step, as ``tag2mask run --settings`` takes it."""
        return {step: {"model.init_args.refinements": links} for step, links in self.links.items()}


@dataclass(frozen=True)
class Chain:
    """How a run makes its labels.

    Attributes:
        links: the refinements of each step, in order.
        maps: the step whose maps the chain begins with; a classifier.
        labels: the step that leaves the labels.
        affinity: name of the step that trained the AffinityNet, "" without a walk.
    """

    links: Links
    maps: Step
    labels: Step
    affinity: str = ""

    def trial(self, name: str = "as it is") -> Trial:
        """The chain as the run has it."""
        return Trial(name, deepcopy(self.links))


def read_chain(run_dir: str | Path) -> Chain:
    """The chain of a finished run, from the configurations that its steps have left.

    Raises:
        UserError: the run has no labels that were made from maps by refinements.
    """
    run = read_runs([run_dir])[0]
    made = [step for step in run.steps if step.manifest.kind == "labels" and step.manifest.complete]
    # the first labels are those to train on; there may be others, of val, that are only scored
    made = [step for step in made if step.manifest.split == made[0].manifest.split]
    labels = next((step for step in reversed(made) if _is_generated(step)), None)
    if labels is None:
        raise UserError(
            f"{run_dir} has no finished labels made by refinements of maps, as psa's pseudo_label: run "
            "stage 2 of such a recipe first"
        )
    links, affinity, step = Links(), "", labels
    while _is_generated(step):
        arguments = _arguments(step, "model")
        links = {step.name: arguments.get("refinements") or [], **links}
        affinity = affinity or Path(arguments.get("affinity_from") or "").name
        step = _input(run, step)
    return Chain(links, step, labels, affinity)


def _is_generated(step: Step) -> bool:
    model = read_config(step).get("model") or {}
    return str(model.get("class_path", "")).endswith(f".{_GENERATOR}")


def _arguments(step: Step, part: str) -> dict[str, Any]:
    arguments = (read_config(step).get(part) or {}).get("init_args")
    return arguments if isinstance(arguments, dict) else {}


def _input(run: Run, step: Step) -> Step:
    name = Path(str(_arguments(step, "data").get("maps_dir") or "")).name
    found = run.step(name)
    if found is None or not found.manifest.complete:
        raise UserError(f"{step.folder} was made from {name or 'maps'}, which {run.folder} does not have")
    return found


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
        if level != present_level(before)
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


def present_level(trial: Trial) -> float | None:
    """The background level of a trial, also where its settings name an alpha; None without a background."""
    for link in _links(trial, "Background"):
        level, alpha = link["init_args"].get("level"), link["init_args"].get("alpha")
        return float(level) if level is not None else _level_of(float(alpha or 1.0))
    return None


def _level_of(alpha: float) -> float:
    """The inverse of `tag2mask.ops.alpha_for_level`, by halving."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        above = alpha * math.log1p(-middle) > math.log(middle)
        low, high = (middle, high) if above else (low, middle)
    return low


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


def _build(link: Mapping[str, Any]) -> Refinement:
    module, _, name = str(link["class_path"]).rpartition(".")
    if not is_trusted(module):
        raise UserError(
            f"{link['class_path']} belongs to no package that registered itself: it is not imported"
        )
    try:
        made = getattr(import_module(module), name)(**(link.get("init_args") or {}))
    except (ImportError, AttributeError, TypeError) as error:
        raise UserError(f"the run's refinement {link['class_path']} cannot be made: {error}") from error
    if not isinstance(made, Refinement):
        raise UserError(f"{link['class_path']} is no refinement")
    return made
