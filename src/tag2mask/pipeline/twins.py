"""Steps that another run has already made with the same settings and inputs."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from tag2mask.artifacts import remove_tree
from tag2mask.artifacts.names import WANDB_NAMES
from tag2mask.core.errors import UserError
from tag2mask.pipeline.plan import StepPlan
from tag2mask.pipeline.settings import read_run
from tag2mask.pipeline.state import Action, Decision, decide


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
