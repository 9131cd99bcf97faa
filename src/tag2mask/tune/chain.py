"""The chain from a run's maps to its labels, and what it takes to make them with other settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tag2mask.artifacts.label_chain import LabelChain, Links, read_label_chain, require_registered
from tag2mask.core import ScoreMaps, UserError
from tag2mask.core.python_source import split_path
from tag2mask.modules.chain import look_ahead
from tag2mask.modules.refinements import Refinement
from tag2mask.report.runs import Step, read_runs


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
        made: its refinements and where they begin.
        maps: the step whose maps the chain begins with; a classifier in most recipes.
        labels: the step that leaves the labels.
    """

    made: LabelChain
    maps: Step
    labels: Step

    @property
    def affinity(self) -> str:
        """Name of the step that trained the AffinityNet, "" without a walk."""
        return self.made.affinity

    def trial(self, name: str = "as it is") -> Trial:
        """The chain as the run has it."""
        return Trial(name, deepcopy(self.made.links))


def read_chain(run_dir: str | Path) -> Chain:
    """The chain of a finished run, from the configurations that its steps have left.

    Raises:
        UserError: the run has no labels that were made from maps by refinements.
    """
    made, run = read_label_chain(run_dir), read_runs([run_dir])[0]
    steps = {step.name: step for step in run.steps}
    return Chain(made, steps[made.maps.name], steps[made.labels.name])


def _build(link: Mapping[str, Any]) -> Refinement:
    require_registered(str(link["class_path"]))
    module, name = split_path(str(link["class_path"]))
    try:
        made = getattr(import_module(module), name)(**(link.get("init_args") or {}))
    except (ImportError, AttributeError, TypeError) as error:
        raise UserError(f"the run's refinement {link['class_path']} cannot be made: {error}") from error
    if not isinstance(made, Refinement):
        raise UserError(f"{link['class_path']} is no refinement")
    return made
