"""How one step of a run is made: a process for each command, whose inputs are noted first; then its score."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from tag2mask.artifacts import manifest_hash, read_manifest, read_score, remove_tree
from tag2mask.core.errors import STOPPED_CODE
from tag2mask.pipeline import launchers
from tag2mask.pipeline.lock import RunLock
from tag2mask.pipeline.notes import write_input
from tag2mask.pipeline.plan import StepPlan
from tag2mask.pipeline.prepared import Prepared
from tag2mask.pipeline.process import run_child
from tag2mask.pipeline.run_commands import RunCommands
from tag2mask.pipeline.scorecard import score_text
from tag2mask.pipeline.state import LOG_NAME, Action
from tag2mask.pipeline.tasks import Task

STOPPED_CODES = (STOPPED_CODE, 128 + signal.SIGTERM, 128 + signal.SIGUSR1)
"""Of a step that a signal has stopped; the signal itself ends one that has not yet imported what it needs."""


class StepFailed(Exception):
    """A process of a step ended with an error, which it has printed itself.

    Attributes:
        code: the exit code to end with.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class StepMaker:
    """Starts the processes of a run, and keeps its lock meanwhile.

    Attributes:
        made: the steps whose old results, if any, are out of the way: they need no ``--rerun`` any more.
    """

    def __init__(self, prepared: Prepared, commands: RunCommands, lock: RunLock) -> None:
        self.run_dir = prepared.request.run_dir
        self.made: list[str] = []
        self._launcher = prepared.request.launcher
        self._commands = commands
        self._lock = lock

    def start(self, words: Sequence[str], log: Path | None = None) -> int:
        """Run a command to its end, with what it prints in a log too; return its exit code."""
        self._lock.keep()
        without = launchers.misleading(self._launcher)
        return run_child(words, log, keep_open=[self._lock.fd], watch=self._lock.keep, without=without)

    def make(self, task: Task) -> None:
        """Run what is to be done of a step.

        Raises:
            StepFailed: a command of it failed, or was stopped.
        """
        plan = task.plan
        self._lock.keep()
        if task.decision.action is Action.AGAIN:
            print(f"the old results are kept in {_set_aside(plan.folder)}", flush=True)
        self.made.append(plan.step.name)
        parents = {name: manifest_hash(self.run_dir / name) for name in plan.step.inputs.values()}
        for command in task.commands:
            self._command(plan, command, parents)

    def _command(self, plan: StepPlan, command: str, parents: dict[str, str]) -> None:
        fingerprint, parts = plan.fingerprinted(command, parents)
        write_input(plan.folder, command, fingerprint, parts)
        plan.write_settings()
        log = plan.folder / LOG_NAME
        code = self.start(self._commands.wrap(plan.words(command, fingerprint), plan.devices), log)
        what = f"step {plan.step.name} ({command})"
        if code in STOPPED_CODES:
            raise StepFailed(f"{what} was stopped by a signal", STOPPED_CODE)
        if code:
            killed = f", killed by signal {code - 128}" if code > 128 else ""
            raise StepFailed(f"{what} failed with exit code {code}{killed}; its log: {log}", code)
        manifest = read_manifest(plan.folder)
        record = manifest.commands.get(command) if manifest else None
        if record is None or not record.complete or record.fingerprint != fingerprint:
            raise StepFailed(f"{what} ended well but did not complete its manifest; its log: {log}", 1)

    def score(self, task: Task) -> str:
        """Score a step where its scores are old, and say them; "" for one that has none.

        Raises:
            StepFailed: it could not be scored.
        """
        folder = task.plan.folder
        if task.scores:
            log = folder / LOG_NAME
            code = self.start(self._commands.score(task), log)
            if code:
                name = task.plan.step.name
                raise StepFailed(f"step {name} could not be scored (exit code {code}); its log: {log}", code)
        return score_text(read_score(folder)) if task.plan.step.score else ""


def _set_aside(folder: Path) -> Path:
    """Move a step's folder to ``<step>.previous``, in place of the one before it.

    One in which nothing was made, as after a mistake in a setting, takes no place: the results stay.
    """
    kept = folder.with_name(f"{folder.name}.previous")
    made = any(path.is_file() for name in ("checkpoints", "out") for path in (folder / name).rglob("*"))
    if os.path.lexists(kept):
        remove_tree(kept if made else folder)
    if folder.exists():
        folder.rename(kept)
    return kept
