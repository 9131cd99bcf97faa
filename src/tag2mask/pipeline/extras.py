"""What one call gives to steps, beside what the run folder remembers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tag2mask.core.errors import unknown_name
from tag2mask.core.layers import Layer, Setting, overlay
from tag2mask.pipeline.arguments import settings_in
from tag2mask.pipeline.devices import Devices
from tag2mask.pipeline.form import PARTS
from tag2mask.pipeline.steps import Step


@dataclass(frozen=True)
class Extras:
    """Options of one call, which the run folder does not remember.

    Attributes:
        devices: devices per command, unless its step names others.
        logger: name of a logger configuration.
        overrides: settings of one step, by its name (or its name in the page, for every round).
        args: options for every chosen step.
        precision: ``trainer.precision`` of every step that trains, unless its own settings name another.
        flags: some of `tag2mask.core.flags.TRAINING_FLAGS`, for every step that trains.
        origins: step -> setting -> file and line, for overrides that were not typed; "" for the step itself.
    """

    devices: Devices = field(default_factory=Devices)
    logger: str | None = None
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    args: Sequence[str] = ()
    precision: str | None = None
    flags: Sequence[str] = ()
    origins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def origin(self, step: str, path: str = "") -> str:
        """The file and line, or the option, that sets something of a step.

        Args:
            step: a name among the overrides.
            path: one of its settings; "" for any of them.
        """
        return self.origins.get(step, {}).get(path) or f"--{step}.{path or '..'}"


def overrides_of(step: Step, extras: Extras) -> Layer:
    """What the user sets of a step by its name, or by its name in the page.

    Raises:
        UserError: a setting is of no part of a step.
    """
    found: Layer = {}
    if extras.precision and step.has_network:
        found["trainer.precision"] = Setting(extras.precision, "--precision")
    for name in step.names:
        for path in extras.overrides.get(name, {}):
            if path.partition(".")[0] not in PARTS:
                raise unknown_name(f"setting of {name}", path, PARTS, f"(in {extras.origin(name, path)})")
        found |= {
            path: Setting(value, extras.origin(name, path))
            for path, value in extras.overrides.get(name, {}).items()
            if name == step.name or path != step.split_setting
        }
    return found


def asked_of(step: Step, extras: Extras) -> Layer:
    """All that the user gives to a step: by its name, and behind ``--``."""
    return overlay(overrides_of(step, extras), settings_in(extras.args))
