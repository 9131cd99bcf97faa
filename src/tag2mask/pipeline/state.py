"""The state of a step: done, half done, made with other settings, or done in another run."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from tag2mask.artifacts import (
    ORIGINS_NAME,
    SETTINGS_NAME,
    SOURCES_NAME,
    Manifest,
    atomic_write_json,
    changed_sources,
    checkpoint_path,
    find_kind,
    read_manifest,
    remove_tree,
)
from tag2mask.artifacts.names import WANDB_NAMES
from tag2mask.artifacts.run_folder import known_settings, root_of
from tag2mask.core.errors import UserError
from tag2mask.core.pages import flatten
from tag2mask.pipeline.plan import StepPlan
from tag2mask.pipeline.settings import read_run
from tag2mask.pipeline.steps import Step

INPUTS_NAME = "inputs.json"
LOG_NAME = "log.txt"
_MOST_SHOWN = 4


class Action(Enum):
    """What is to be done about a step."""

    SKIP = "skipped (done before)"
    NEW = "to be made"
    GO_ON = "goes on where it stopped"
    MEND = "gets back what it lacks"
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
        UserError: the folder's manifest, or its record of the data set's files, is broken.
    """
    step, folder = plan.step, plan.folder
    manifest, records = read_manifest(folder), read_inputs(folder)
    if manifest is None and not records and not _has_content(folder):
        return Decision(Action.NEW, step.commands)
    unmade = sorted(name for name, value in parents.items() if value is None)
    if unmade:
        return Decision(Action.AGAIN, step.commands, tuple(f"{name} is made first" for name in unmade))
    reasons = _differences(plan, {k: v for k, v in parents.items() if v}, manifest, records)
    reasons = reasons or _changed_files(plan)
    if reasons:
        return Decision(Action.AGAIN, step.commands, tuple(reasons))
    pending = _pending(manifest, step)
    if manifest is not None and manifest.complete and not pending:
        return _heal(folder, manifest, step)
    return Decision(Action.GO_ON, pending or step.commands[-1:])


def changed_files(plan: StepPlan, record: str) -> list[str]:
    """Files of the data set, where it lies now, that are others than when a step's folder was made.

    Args:
        plan: the step.
        record: name of the file in its folder that names them.
    """
    before, now = root_of(known_settings(plan.folder)), root_of(plan.settings)
    return changed_sources(plan.folder / record, (before, now) if before and now else None)


def _changed_files(plan: StepPlan) -> list[str]:
    changed = changed_files(plan, SOURCES_NAME)
    more = f" and {len(changed) - 1} more files" if len(changed) > 1 else ""
    return [f"{changed[0]}{more} has other content now"] if changed else []


def _heal(folder: Path, manifest: Manifest, step: Step) -> Decision:
    """What to do about a finished step, some of whose files may have been deleted since."""
    if manifest.checkpoint and not checkpoint_path(folder, manifest).is_file():
        return Decision(Action.AGAIN, step.commands, (f"{manifest.checkpoint} is gone",))
    if "predict" not in step.commands:
        return Decision(Action.SKIP)
    kind = find_kind(manifest.kind)
    # a step may leave out some of the folders, and the last one tells what prediction takes for done
    made = [name for name in kind.folders if (folder / "out" / name).is_dir()] or [kind.done_folder]
    for name in made:
        files = kind.files(folder / "out", name)
        lost = [image_id for image_id in manifest.image_ids if not files.has(image_id)]
        if lost:
            why = (f"{len(lost)} results are gone ({files.path(lost[0])})",)
            if name == made[-1]:
                return Decision(Action.MEND, ("predict",), why)
            return Decision(Action.AGAIN, step.commands, why)
    return Decision(Action.SKIP)


def read_inputs(folder: Path) -> dict[str, dict[str, Any]]:
    """What the commands of a step were started with: fingerprint and parts of each, {} if unknown."""
    return {k: v for k, v in known_json(folder / INPUTS_NAME).items() if _is_note(v)}


def known_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file that a run can do without; {} where there is none, or it is broken."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}


def _is_note(plain: Any) -> bool:
    """Whether it has the form that `write_input` gives it; other notes tell nothing."""
    if not isinstance(plain, dict) or not isinstance(plain.get("fingerprint"), str):
        return False
    parts = plain.get("parts")
    tables = ("parents", "files", "settings")
    return (
        isinstance(parts, dict)
        and all(isinstance(parts.get(name, {}), dict) for name in tables)
        and isinstance(parts.get("options", []), list)
        and all(isinstance(option, str) for option in parts.get("options", []))
    )


def write_input(folder: Path, command: str, fingerprint: str, parts: Mapping[str, Any]) -> None:
    """Note what a command is about to be started with."""
    record = {"fingerprint": fingerprint, "parts": dict(parts)}
    atomic_write_json(folder / INPUTS_NAME, {**read_inputs(folder), command: record})


def _has_content(folder: Path) -> bool:
    return folder.is_dir() and any(
        p.name not in (INPUTS_NAME, LOG_NAME, ORIGINS_NAME, SETTINGS_NAME) for p in folder.iterdir()
    )


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
    lines += [f"{n} is new" for n in sorted(files.keys() - before.keys())]
    lines += [f"{n} is gone or no longer read" for n in sorted(before.keys() - files.keys())]
    lines += [f"{n} has changed" for n in sorted(files.keys() & before.keys()) if files[n] != before[n]]
    lines += _changed_values(old.get("settings", {}), new["settings"])
    gone, come = old.get("options", []), new["options"]
    if gone != come:
        lines.append(f"options {' '.join(gone) or 'none'} -> {' '.join(come) or 'none'}")
    return lines or ["it was made with other names of settings"]


def _changed_values(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    before, after = dict(flatten(old)), dict(flatten(new))
    keys = [k for k in sorted({*before, *after}) if before.get(k) != after.get(k)]
    lines = [f"{key} {before.get(key, 'not set')} -> {after.get(key, 'not set')}" for key in keys]
    more = [f"{len(lines) - _MOST_SHOWN} more values"] if len(lines) > _MOST_SHOWN else []
    return lines[:_MOST_SHOWN] + more


def check_runs(folders: Iterable[Path]) -> None:
    """Refuse folders that are no runs.

    Raises:
        UserError: a folder is missing or is no run folder.
    """
    for folder in folders:
        if read_run(folder) is None:
            raise UserError(f"--reuse {folder}: there is no run; name the folder of an earlier run")


def find_twin(
    plan: StepPlan, decision: Decision, parents: Mapping[str, str | None], runs: Iterable[Path]
) -> Path | None:
    """The complete folder of the same step in another run, made with the same settings and inputs.

    Args:
        plan: the step as it would be started.
        decision: only a step that has nothing of its own yet takes that of another run.
        parents: hash of each input's manifest.
        runs: run folders, the first that has it counts.
    """
    if decision.action is not Action.NEW:
        return None
    for run in runs:
        folder = run / plan.step.name
        if folder.is_dir() and decide(replace(plan, folder=folder), parents).action is Action.SKIP:
            return folder
    return None


def copy_step(source: Path, folder: Path) -> None:
    """Copy a step's folder; a copy that is cut short leaves nothing that looks like a step.

    A run that is kept read-only can be copied, too: the copy can be written to. In Weights & Biases it is
    another run: with the first one's id, what is logged of the copy would go there, into the wrong group.

    Raises:
        UserError: a file cannot be read, or the copy not be written.
    """
    part = folder.with_name(f".{folder.name}.part")
    if part.exists():
        remove_tree(part)
    try:
        shutil.copytree(source, part, ignore=lambda at, _: WANDB_NAMES if Path(at) == source else ())
    except shutil.Error as error:
        file, _, why = error.args[0][0]
        raise UserError(
            f"cannot copy {file} to {folder}: {why}; make room there or let it be read, or leave out --reuse"
        ) from error
    for path in (part, *part.rglob("*")):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
    if folder.exists():  # the note of a start that never came, and its log
        remove_tree(folder)
    part.rename(folder)
