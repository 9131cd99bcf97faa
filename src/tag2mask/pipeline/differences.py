"""What differs between a step as it was made and as it would be made now, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tag2mask.artifacts import Manifest
from tag2mask.core.layers import flatten
from tag2mask.pipeline.plan import StepPlan

_MOST_SHOWN = 4
"""Changed values that are named; of the others there is the count."""


def differences(
    plan: StepPlan,
    parents: Mapping[str, str],
    manifest: Manifest | None,
    records: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """Why a step has to be made again; empty where nothing has changed.

    Args:
        plan: the step as it would be started.
        parents: hash of the manifest of each input that is made.
        manifest: the manifest in its folder, if there is one.
        records: what its commands were last started with, see `read_inputs`.
    """
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
            lines = explain(noted["parts"], parts) or ["it was made with other names of settings"]
            reasons += [line for line in lines if line not in reasons]
        else:
            reasons.append(f"its {command} was started by hand or with settings that are not on record")
    return reasons if known else ["nothing tells what it was made with"]


def explain(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line for each thing that changed between the parts of two fingerprints."""
    was, now = old.get("parents", {}), new["parents"]
    lines = [f"{name} was made again" for name in now if name in was and was[name] != now[name]]
    if was.keys() != now.keys():
        lines.append(f"it read {', '.join(was) or 'nothing'}, now {', '.join(now) or 'nothing'}")
    if old.get("script") != new["script"]:
        lines.append(f"script {old.get('script')} -> {new['script']}")
    files, before = new["files"], old.get("files", {})
    lines += [f"{n} is new" for n in sorted(files.keys() - before.keys())]
    lines += [f"{n} is gone or no longer read" for n in sorted(before.keys() - files.keys())]
    lines += [f"{n} has changed" for n in sorted(files.keys() & before.keys()) if files[n] != before[n]]
    lines += _changed_values(old.get("settings", {}), new["settings"])
    gone, come = old.get("options", []), new["options"]
    if gone != come:
        lines.append(f"options {' '.join(gone) or 'none'} -> {' '.join(come) or 'none'}")
    return lines


def _changed_values(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    before, after = dict(flatten(old)), dict(flatten(new))
    keys = [k for k in sorted({*before, *after}) if before.get(k) != after.get(k)]
    lines = [f"{key} {before.get(key, 'not set')} -> {after.get(key, 'not set')}" for key in keys]
    more = [f"{len(lines) - _MOST_SHOWN} more values"] if len(lines) > _MOST_SHOWN else []
    return lines[:_MOST_SHOWN] + more
