"""Whether a step is done, half done, or was made with something else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from tag2mask.artifacts import Manifest, atomic_write_json, read_manifest
from tag2mask.pipeline.configs import flatten
from tag2mask.pipeline.plan import StepPlan
from tag2mask.pipeline.spec import Step

INPUTS_NAME = "inputs.json"
LOG_NAME = "log.txt"
_MOST_SHOWN = 4


class Action(Enum):
    """What is to be done about a step."""

    SKIP = "skipped (done before)"
    NEW = "to be made"
    GO_ON = "goes on where it stopped"
    AGAIN = "to be made again"


@dataclass(frozen=True)
class Decision:
    """What is to be done about a step, why, and which commands that takes."""

    action: Action
    commands: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def is_complete(folder: Path, step: Step) -> bool:
    """Whether every command of the step ran to its end."""
    manifest = read_manifest(folder)
    return manifest is not None and manifest.complete and not _pending(manifest, step)


def decide(plan: StepPlan, parents: Mapping[str, str | None]) -> Decision:
    """Compare a step's folder with what is asked for now.

    Args:
        plan: the step as it would be started.
        parents: hash of each input's manifest; None for one that has yet to be made.

    Raises:
        UserError: the folder's manifest is broken.
    """
    step, folder = plan.step, plan.folder
    manifest, records = read_manifest(folder), read_inputs(folder)
    if manifest is None and not records and not _has_content(folder):
        return Decision(Action.NEW, step.commands)
    unmade = sorted(name for name, value in parents.items() if value is None)
    if unmade:
        return Decision(Action.AGAIN, step.commands, tuple(f"{name} is made first" for name in unmade))
    reasons = _differences(plan, {k: v for k, v in parents.items() if v}, manifest, records)
    if reasons:
        return Decision(Action.AGAIN, step.commands, tuple(reasons))
    pending = _pending(manifest, step)
    if manifest is not None and manifest.complete and not pending:
        return Decision(Action.SKIP)
    return Decision(Action.GO_ON, pending or step.commands[-1:])


def read_inputs(folder: Path) -> dict[str, dict[str, Any]]:
    """What the commands of a step were started with: fingerprint and parts of each, {} if unknown."""
    try:
        plain = json.loads((folder / INPUTS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(plain, dict):
        return {}
    return {k: v for k, v in plain.items() if isinstance(v, dict) and "fingerprint" in v and "parts" in v}


def write_input(folder: Path, command: str, fingerprint: str, parts: Mapping[str, Any]) -> None:
    """Note what a command is about to be started with."""
    record = {"fingerprint": fingerprint, "parts": dict(parts)}
    atomic_write_json(folder / INPUTS_NAME, {**read_inputs(folder), command: record})


def _has_content(folder: Path) -> bool:
    return folder.is_dir() and any(p.name not in (INPUTS_NAME, LOG_NAME) for p in folder.iterdir())


def _pending(manifest: Manifest | None, step: Step) -> tuple[str, ...]:
    done = {name for name, record in manifest.commands.items() if record.complete} if manifest else set()
    return tuple(command for command in step.commands if command not in done)


def _differences(
    plan: StepPlan,
    parents: Mapping[str, str],
    manifest: Manifest | None,
    records: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    reasons: list[str] = []
    known = False
    for command in plan.step.commands:
        fingerprint, parts = plan.fingerprinted(command, parents)
        noted = records.get(command)
        made = manifest.commands.get(command) if manifest else None
        # the manifest tells what made the results, the note what the runner last asked for
        found = made.fingerprint if made else noted["fingerprint"] if noted else None
        known = known or found is not None
        if found is None or found == fingerprint:
            continue
        if noted and noted["fingerprint"] == found:
            reasons += [r for r in _explain(noted["parts"], parts) if r not in reasons]
        else:
            reasons.append(f"its {command} was started by hand or with settings that are not on record")
    return reasons if known else ["nothing tells what it was made with"]


def _explain(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line for each thing that changed between two fingerprints."""
    was, now = old.get("parents", {}), new["parents"]
    lines = [f"{name} was made again" for name in now if name in was and was[name] != now[name]]
    if was.keys() != now.keys():
        lines.append(f"it read {', '.join(was) or 'nothing'}, now {', '.join(now) or 'nothing'}")
    if old.get("script") != new["script"]:
        lines.append(f"script {old.get('script')} -> {new['script']}")
    files, before = new["files"], old.get("files", {})
    lines += [f"{n} has changed" for n in sorted({*files, *before}) if files.get(n) != before.get(n)]
    lines += _changed_values(_merged(old.get("configs", [])), _merged(new["configs"]))
    gone, come = old.get("options", []), new["options"]
    if gone != come:
        lines.append(f"options {' '.join(gone) or 'none'} -> {' '.join(come) or 'none'}")
    return lines or ["its configuration files have changed"]


def _changed_values(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    before, after = dict(flatten(old)), dict(flatten(new))
    keys = [k for k in sorted({*before, *after}) if before.get(k) != after.get(k)]
    lines = [f"{key} {before.get(key, 'not set')} -> {after.get(key, 'not set')}" for key in keys]
    more = [f"{len(lines) - _MOST_SHOWN} more values"] if len(lines) > _MOST_SHOWN else []
    return lines[:_MOST_SHOWN] + more


def _merged(configs: list[Any]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for config in configs:
        _merge_into(total, config)
    return total


def _merge_into(total: dict[str, Any], config: Mapping[str, Any]) -> None:
    for key, value in config.items():
        if isinstance(value, Mapping) and isinstance(total.get(key), dict):
            _merge_into(total[key], value)
        else:
            # The plan's own parts, of which the fingerprint is made, must stay as they are.
            total[key] = deepcopy(value)
