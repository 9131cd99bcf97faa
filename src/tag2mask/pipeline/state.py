"""The state of a step: done, half done, or made with other settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tag2mask.artifacts import (
    ORIGINS_NAME,
    SETTINGS_NAME,
    SOURCES_NAME,
    Manifest,
    changed_sources,
    checkpoint_path,
    find_kind,
    read_manifest,
)
from tag2mask.artifacts.run_folder import known_settings, root_of
from tag2mask.pipeline.differences import differences
from tag2mask.pipeline.notes import INPUTS_NAME, read_inputs
from tag2mask.pipeline.plan import StepPlan
from tag2mask.pipeline.steps import Step

LOG_NAME = "log.txt"


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
    reasons = differences(plan, {k: v for k, v in parents.items() if v}, manifest, records)
    reasons = reasons or changed_data(plan)
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


def changed_data(plan: StepPlan) -> list[str]:
    """A line where files of the data set that a step read have other content now."""
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


def _has_content(folder: Path) -> bool:
    return folder.is_dir() and any(
        p.name not in (INPUTS_NAME, LOG_NAME, ORIGINS_NAME, SETTINGS_NAME) for p in folder.iterdir()
    )


def _pending(manifest: Manifest | None, step: Step) -> tuple[str, ...]:
    done = {name for name, record in manifest.commands.items() if record.complete} if manifest else set()
    return tuple(command for command in step.commands if command not in done)
