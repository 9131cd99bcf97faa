"""Weight files and backbones of the user are tried before anything starts, in a process of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tag2mask.core.errors import UserError
from tag2mask.core.layers import Layer, Setting, flatten, nest, overlay
from tag2mask.core.library import open_library
from tag2mask.core.weight_files import NO_FILE, check_weight_file
from tag2mask.pipeline.options import option_settings
from tag2mask.pipeline.plan import StepPlan
from tag2mask.pipeline.prepared import Prepared
from tag2mask.pipeline.process import require_ends_well
from tag2mask.pipeline.tasks import list_tasks

COMMAND = "try-backbone"
"""The command that builds backbones, of `tag2mask.weights.trial`."""
_PLACE = "model.init_args.backbone"
_HEAD = "model.init_args.head.name"


def require_weights(prepared: Prepared, program: Sequence[str]) -> None:
    """Refuse a run in which a step that is to be trained cannot load its weights into its backbone.

    Shipped backbones are tried with files of weights only: else the runner need not wait for torch.

    Args:
        prepared: the run.
        program: how ``tag2mask`` is called.

    Raises:
        UserError: a file of weights is missing, damaged or of another network, or there is no such backbone;
            with the option or file that names it.
    """
    shipped = [None, *open_library().names("backbones")]
    found = {name: _settings(plan) for name, plan in prepared.plans.items() if plan.step.trains}
    asked = {name: settings for name, settings in found.items() if _is_own(settings, shipped)}
    if not asked:
        return
    trained = [task.plan.step.name for task in list_tasks(prepared) if "fit" in task.commands]
    # the same file and network in several steps are tried once
    trials = {_key(asked[name]): _trial(name, asked[name]) for name in reversed(trained) if name in asked}
    if not trials:
        return
    require_ends_well(program, COMMAND, [json.dumps(trial) for trial in reversed(trials.values())])


def _settings(plan: StepPlan) -> Layer:
    """What a step is started with: its settings, and over them those of its options."""
    own = {path: Setting(v, plan.origins.get(path, path)) for path, v in flatten(plan.settings)}
    return overlay(own, dict(option_settings(plan.options)))


def _is_own(settings: Layer, shipped: Sequence[str | None]) -> bool:
    """Whether a step has weights of a file, which begins as one of weights, or a backbone of the user's."""
    name, weights, head = _key(settings)
    if weights not in NO_FILE:
        origin = settings[f"{_PLACE}.weights"].origin
        try:
            check_weight_file(Path(str(weights)))
        except UserError as error:
            raise UserError(f"{origin}: {error}") from error
        return True
    return name not in shipped and not head


def _key(settings: Layer) -> tuple[Any, Any, str]:
    """Backbone, weights, and the head where it has an encoder of its own in place of a backbone."""
    name, weights, head = (
        settings.get(path, Setting(None, "")).value for path in (f"{_PLACE}.name", f"{_PLACE}.weights", _HEAD)
    )
    return name, weights, head if str(head).startswith("smp:") else ""


def _trial(step: str, settings: Layer) -> dict[str, Any]:
    """What the command needs to build a backbone as a step does, and to say where its settings come from."""
    parts = {k.removeprefix(f"{_PLACE}."): v for k, v in settings.items() if k.startswith(f"{_PLACE}.")}
    return {
        "step": step,
        "backbone": nest(parts),
        "head": _key(settings)[2],
        "origins": {name: parts[name].origin for name in ("name", "weights") if name in parts},
    }
