"""The chain from a run's maps to its labels, and what it takes to make them with other settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tag2mask.core import ScoreMaps, UserError
from tag2mask.core.plugins import is_trusted
from tag2mask.modules.refinements import Refinement, look_ahead
from tag2mask.report.runs import Run, Step, read_config, read_runs

_GENERATOR = "PseudoLabelGenerator"

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
        maps: the step whose maps the chain begins with; a classifier in most recipes.
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
