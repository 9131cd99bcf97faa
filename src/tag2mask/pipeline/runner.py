"""Runs a recipe: each command of each step as a process, and nothing twice."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tag2mask.artifacts import REPORT_NAME, SCORE_NAME, SCORECARD_NAME, manifest_hash, read_manifest
from tag2mask.core.errors import UserError
from tag2mask.core.tables import duration
from tag2mask.pipeline import launchers, progress
from tag2mask.pipeline.lock import RunLock
from tag2mask.pipeline.plan import StepPlan
from tag2mask.pipeline.prepare import Prepared, prepare
from tag2mask.pipeline.preview import batch_file, check_words, show_plan
from tag2mask.pipeline.process import Stopped, run_child
from tag2mask.pipeline.request import Request, resume_words
from tag2mask.pipeline.reuse import copy_step, find_twin
from tag2mask.pipeline.scorecard import read_score, update_scorecard
from tag2mask.pipeline.settings import changes, read_run, write_run
from tag2mask.pipeline.state import LOG_NAME, Action, Decision, decide, write_input


class StepFailed(Exception):
    """A process of a step ended with an error, which it has printed itself.

    Attributes:
        code: the exit code to end with.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def run_recipe(request: Request, program: Sequence[str] = launchers.PROGRAM) -> int:
    """Make the chosen steps of a recipe, skipping what is done.

    Args:
        request: what to run, on what, and where.
        program: how ``tag2mask`` is called for the processes that are started.

    Returns:
        exit code: 0 done; that of a process that failed; 1 when only the report failed; 130 after
        Ctrl-C.

    Raises:
        UserError: something cannot work; nothing was started or overwritten then.
    """
    prepared = prepare(request)
    if request.launcher == "slurm":
        text = batch_file(prepared, program)
        print(text.rstrip() if request.dry_run else launchers.submit(request.run_dir, text))
        return 0
    if request.dry_run:
        show_plan(prepared, program)
        return 0
    with RunLock(request.run_dir) as lock:
        if read_run(request.run_dir) != prepared.known:
            raise UserError(f"another runner has just changed {request.run_dir}; start again")
        try:
            return _Runner(prepared, program, lock.fd).run()
        except StepFailed as error:
            print(f"{error}\ngo on with: {shlex.join(resume_words(request))}", file=sys.stderr)
            return error.code
        except (Stopped, KeyboardInterrupt) as error:
            print(f"stopped; go on with: {shlex.join(resume_words(request))}", file=sys.stderr)
            return error.code if isinstance(error, Stopped) else 130


class _Runner:
    """The part that starts processes. It holds the run folder's lock."""

    def __init__(self, prepared: Prepared, program: Sequence[str], lock_fd: int) -> None:
        self.prepared = prepared
        self.run_dir = prepared.request.run_dir
        self.program = list(program)
        self.wrap = launchers.choose(prepared.request.launcher, program, prepared.request.extras.devices)
        self.lock_fd = lock_fd
        self.checked = not prepared.request.check

    def run(self) -> int:
        """Make the chosen steps, print the table, write the report."""
        for line in changes(self.prepared.settings, self.prepared.known):
            print(f"changed since the last run: {line}")
        steps = self.prepared.recipe.steps
        for index, step in enumerate(steps, 1):
            if step.name in self.prepared.plans:
                self._step(index, len(steps), self.prepared.plans[step.name])
        card = update_scorecard(self.run_dir, self.prepared.recipe, self.prepared.settings)
        print("\n" + progress.score_table(card, [step.name for step in steps]))
        print(f"scorecard: {self.run_dir / SCORECARD_NAME}")
        code = self._start([*self.program, "report", str(self.run_dir)])
        if code:
            print(
                f"the report could not be written (exit code {code}); the scores are complete",
                file=sys.stderr,
            )
            return 1
        print(f"report: {self.run_dir / REPORT_NAME}")
        return 0

    def _start(self, words: Sequence[str], log: Path | None = None) -> int:
        return run_child(words, log, keep_open=[self.lock_fd])

    def _check_once(self) -> None:
        if not self.checked:
            code = self._start([*self.program, *check_words(self.prepared.settings)])
            if code:
                raise StepFailed("the data check failed; nothing was started", code)
            self.checked = True
        write_run(self.run_dir, self.prepared.settings)

    def _step(self, index: int, total: int, plan: StepPlan) -> None:
        parents = {s: manifest_hash(self.run_dir / s) for s in plan.step.inputs.values()}
        decision = decide(plan, parents)
        name = plan.step.name
        text = decision.action.value
        if decision.action is not Action.SKIP:
            self._check_once()
            started = time.monotonic()
            twin = find_twin(plan, decision, parents, self.prepared.request.reuse)
            if twin is not None:
                copy_step(twin, plan.folder)
                text = f"copied from {twin}"
            else:
                reasons = f": {'; '.join(decision.reasons)}" if decision.reasons else ""
                print(progress.status_line(index, total, name, text + reasons), flush=True)
                self._make(plan, decision, parents)
        score = self._score(plan)
        if decision.action is not Action.SKIP and twin is None:
            text = f"done in {duration(time.monotonic() - started)}"
        update_scorecard(self.run_dir, self.prepared.recipe, self.prepared.settings)
        print(progress.status_line(index, total, name, text, score), flush=True)

    def _make(self, plan: StepPlan, decision: Decision, parents: dict[str, str]) -> None:
        if decision.action is Action.AGAIN:
            print(f"the old results are kept in {_set_aside(plan.folder)}", flush=True)
        for command in decision.commands:
            self._command(plan, command, parents)

    def _command(self, plan: StepPlan, command: str, parents: dict[str, str]) -> None:
        fingerprint, parts = plan.fingerprinted(command, parents)
        write_input(plan.folder, command, fingerprint, parts)
        log = plan.folder / LOG_NAME
        code = self._start(self.wrap(plan.words(command, fingerprint)), log)
        what = f"step {plan.step.name} ({command})"
        if code:
            killed = f", killed by signal {code - 128}" if code > 128 else ""
            raise StepFailed(f"{what} failed with exit code {code}{killed}; its log: {log}", code)
        manifest = read_manifest(plan.folder)
        record = manifest.commands.get(command) if manifest else None
        if record is None or not record.complete or record.fingerprint != fingerprint:
            raise StepFailed(f"{what} ended well but did not complete its manifest; its log: {log}", 1)

    def _score(self, plan: StepPlan) -> str:
        if plan.step.score is None:
            return ""
        if not (plan.folder / SCORE_NAME).is_file():
            log = plan.folder / LOG_NAME
            code = self._start([*self.program, "score-step", str(plan.folder)], log)
            if code:
                raise StepFailed(
                    f"step {plan.step.name} could not be scored (exit code {code}); its log: {log}", code
                )
        return progress.score_text(read_score(plan.folder))


def _set_aside(folder: Path) -> Path:
    """Move a step's folder to ``<step>.previous``, in place of the one before it."""
    kept = folder.with_name(f"{folder.name}.previous")
    if kept.exists():
        shutil.rmtree(kept)
    folder.rename(kept)
    return kept
