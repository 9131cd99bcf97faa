"""The steps of a recipe, as read from its page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tag2mask.artifacts import find_kind
from tag2mask.core.errors import unknown_name
from tag2mask.core.layers import Layer
from tag2mask.core.recipe_names import join_label
from tag2mask.pipeline.rounds import OUTSIDE, Round

NETWORK_FROM = "network-from"
"""Option of a prediction by the network of another step, which gets the folder of that step."""


class Section(NamedTuple):
    """Settings of a step, and when they hold.

    Attributes:
        when: page (always), backbones, budgets or variant.
        name: the backbone or budget.
        settings: the settings.
    """

    when: str
    name: str
    settings: Layer


@dataclass(frozen=True)
class Step:
    """One step of a recipe: the commands of one script that fill one folder.

    Attributes:
        name: name of the step and of its folder.
        stage: 1, 2 or 3.
        script: the script that runs it.
        commands: ``fit`` and/or ``predict``, in order.
        kind: what its folder holds.
        inputs: option (without dashes) that takes a folder -> the step that fills it.
        bases: the kinds of step that it is one of, the most general first.
        backbone: the network that the page names, "" for none.
        sections: what the pages set.
        template: its name in the page.
        turn: the round that it belongs to.
        fixed: inputs that its round sets, which no variant changes.
        copy_of: the step whose network or settings it repeats on val, "" for a step of a page.
        split_setting: the setting by which a copy is one on val, which it does not take from its step.
    """

    name: str
    stage: int
    script: str
    commands: tuple[str, ...]
    kind: str
    inputs: dict[str, str] = field(default_factory=dict)
    bases: tuple[str, ...] = ()
    backbone: str = ""
    sections: tuple[Section, ...] = ()
    template: str = ""
    turn: Round = OUTSIDE
    fixed: frozenset[str] = frozenset()
    copy_of: str = ""
    split_setting: str = ""

    @property
    def score(self) -> bool:
        """Whether its result can be compared with true masks."""
        return find_kind(self.kind).scored_as is not None

    @property
    def trains(self) -> bool:
        """Whether it trains a network."""
        return "fit" in self.commands

    @property
    def has_network(self) -> bool:
        """Whether it trains a network, or predicts with that of the step that it is a copy of."""
        return self.trains or NETWORK_FROM in self.inputs

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which settings are given to it, the most general first."""
        return tuple(dict.fromkeys(name for name in (self.template, self.copy_of, self.name) if name))


@dataclass(frozen=True)
class Recipe:
    """A recipe, or one variant of it.

    Attributes:
        name: name of the recipe and of its page.
        title: one line.
        steps: in order; every input is an earlier step.
        variants: title and targets of each, by name.
        variant: the one that `steps` follow, "" for the recipe as such.
        paper: citation, targets, val, ranges and every_image, as the page has them; targets (step -> mIoU in
            percent) are those of the variant, and val is empty then.
    """

    name: str
    title: str
    steps: tuple[Step, ...]
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    variant: str = ""
    paper: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """``name`` or ``name:variant``."""
        return join_label(self.name, self.variant)

    def step(self, name: str) -> Step:
        """A step by name.

        Raises:
            UserError: there is none of that name.
        """
        for step in self.steps:
            if step.name == name:
                return step
        raise unknown_name(f"step of {self.label}", name, [s.name for s in self.steps])
