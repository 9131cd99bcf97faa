"""Runs a recipe: each command of each step as a process, and nothing twice."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from tag2mask.artifacts import (
    REPORT_NAME,
    SCORECARD_NAME,
    SOURCES_NAME,
    keep_sources,
    read_alarms,
    recall_sources,
    remove_temporaries,
)
from tag2mask.artifacts.label_chain import is_tunable
from tag2mask.core.alarms import Alarm
from tag2mask.core.errors import STOPPED_CODE, UNUSABLE_CODE, UserError
from tag2mask.core.tables import duration
from tag2mask.pipeline import launchers
from tag2mask.pipeline.forecast import MeasuringKilled
from tag2mask.pipeline.lock import RunLock
from tag2mask.pipeline.making import STOPPED_CODES, StepFailed, StepMaker
from tag2mask.pipeline.own_classes import require_imports
from tag2mask.pipeline.own_weights import require_weights
from tag2mask.pipeline.prepared import Prepared, prepare
from tag2mask.pipeline.request import Request, after_requeue, resume_words
from tag2mask.pipeline.run_commands import RunCommands
from tag2mask.pipeline.scorecard import (
    alarm_line,
    score_table,
    unscored_line,
    update_scorecard,
)
from tag2mask.pipeline.settings import changes, read_run, write_run
from tag2mask.pipeline.signals import StopAtSignal, Stopped
from tag2mask.pipeline.stale import stale_lines
from tag2mask.pipeline.state import Action
from tag2mask.pipeline.submission import submit_run, waiting_line
from tag2mask.pipeline.tasks import Task, list_tasks, require_batches
from tag2mask.pipeline.twins import copy_step


def run_recipe(request: Request, program: Sequence[str] = launchers.PROGRAM) -> int:
    """Make the chosen steps of a recipe, skipping what is done.

    Args:
        request: what to run, on what, and where.
        program: how ``tag2mask`` is called for the processes that are started.

    Returns:
        exit code: 0 done; that of a process that failed; 1 when only the report, or what brings the scores to
        Weights & Biases, failed; 3 when the result of a step is of no use for the next ones; 75 after SIGTERM
        or SIGUSR1, 129 after SIGHUP, 130 after Ctrl-C.

    Raises:
        UserError: something cannot work, and nothing was started or overwritten; or another runner has
            taken the run folder over meanwhile.
    """
    try:
        with StopAtSignal():  # from the start: looking at weights and images takes half a minute
            return _run_recipe(request, program)
    except Stopped as error:
        print(f"{error}; the same command goes on from here", file=sys.stderr)
        return error.code


def _run_recipe(request: Request, program: Sequence[str]) -> int:
    request = after_requeue(request)
    prepared = prepare(request)
    require_imports(prepared, program)
    require_weights(prepared, program)
    recall_sources(request.run_dir / SOURCES_NAME)
    _tell_notes(prepared)
    if request.launcher == "slurm":
        print(submit_run(prepared, program))
        return 0
    require_batches(prepared)
    commands = RunCommands(prepared, program)
    if request.dry_run:
        commands.show()
        return 0
    if request.launcher == "srun":
        launchers.require_slurm("srun")
    with RunLock(request.run_dir) as lock:
        if read_run(request.run_dir) != prepared.known:
            raise UserError(f"another runner has just changed {request.run_dir}; start again")
        for folder in (request.run_dir, *(plan.folder for plan in prepared.plans.values())):
            # Not below: a step clears away its own results' when it is started again.
            remove_temporaries(folder, deep=False)
        runner = _Runner(prepared, commands, StepMaker(prepared, commands, lock))
        try:
            return runner.run()
        except StepFailed as error:
            print(f"{error}\ngo on with: {runner.way_on()}", file=sys.stderr)
            return error.code
        except (Stopped, KeyboardInterrupt) as error:
            print(f"stopped; go on with: {runner.way_on()}", file=sys.stderr)
            return error.code if isinstance(error, Stopped) else 130


def _tell_notes(prepared: Prepared) -> None:
    """Say what the user may not expect of this run, before it starts."""
    request, notes = prepared.request, stale_lines(prepared)
    if request.launcher in ("local", "torchrun") and not request.dry_run:
        notes += [line for line in [waiting_line(request.run_dir)] if line]
    for line in notes:
        print(f"# note: {line}" if request.dry_run else f"note: {line}", flush=True)


class _Runner:
    """Goes through the tasks of a run, from its first step to its report."""

    def __init__(self, prepared: Prepared, commands: RunCommands, steps: StepMaker) -> None:
        self.prepared = prepared
        self.run_dir = prepared.request.run_dir
        self.commands = commands
        self.steps = steps
        self.begun = False
        self.tasks: list[Task] = []

    def run(self) -> int:
        """Do the tasks, print the table, write the report."""
        for line in changes(self.prepared.settings, self.prepared.known):
            print(f"changed since the last run: {line}")
        self.tasks = list_tasks(self.prepared)
        keep_sources(self.run_dir / SOURCES_NAME)
        for task in self.tasks:
            alarms = self._do(task)
            if any(alarm.unusable for alarm in alarms) and not self.prepared.request.allow_empty:
                return self._finish() or self._refuse_to_go_on(task.plan.step.name)
        return self._finish()

    def way_on(self, allow_empty: bool = False) -> str:
        """The command that goes on from here, also after results of no use where that is wanted."""
        asked = self.prepared.request
        allowed = allow_empty or asked.allow_empty
        rerun = tuple(name for name in asked.rerun if name not in self.steps.made)
        request = replace(asked, rerun=rerun, allow_empty=allowed)
        return shlex.join(resume_words(request, self.begun))

    def _finish(self) -> int:
        """Print the table, write the report, and name the alarms last."""
        card = update_scorecard(self.run_dir, self.prepared.recipe, self.prepared.settings)
        print("\n" + score_table(card, [step.name for step in self.prepared.recipe.steps]))
        if line := unscored_line(card, self.run_dir):
            print(line)
        print(f"scorecard: {self.run_dir / SCORECARD_NAME}")
        code = self.steps.start(self.commands.report())
        if code:
            print(
                f"the report could not be written (exit code {code}); the scores are complete",
                file=sys.stderr,
            )
            return 1
        print(f"report: {self.run_dir / REPORT_NAME}")
        track = self.commands.track()
        if track and self.steps.start(track):
            print(f"the scores are not in Weights & Biases; again with: {shlex.join(track)}", file=sys.stderr)
            return 1
        if card["alarms"]:
            print(alarm_line(card), flush=True)
        return 0

    def _refuse_to_go_on(self, step: str) -> int:
        way = f"go on all the same with: {self.way_on(allow_empty=True)}"
        print(f"stopped after {step}, whose result is of no use; {way}", file=sys.stderr)
        return UNUSABLE_CODE

    def _begin(self) -> None:
        """Before the first step: check data set, disk and memory, and remember the settings."""
        if self.begun:
            return
        if self.prepared.request.check:
            code = self.steps.start(self.commands.check())
            if code:
                raise StepFailed("the data check failed; nothing was started", code)
            try:
                found = self.commands.forecast(self.tasks)
            except MeasuringKilled as error:
                code = STOPPED_CODE if error.code in STOPPED_CODES else error.code
                raise StepFailed(f"{error}; nothing was started", code) from error
            print(found.line(), flush=True)
            found.require_fit()
        write_run(self.run_dir, self.prepared.settings)
        self.begun = True

    def _do(self, task: Task) -> list[Alarm]:
        started, text = time.monotonic(), task.text
        if task.decision.action is not Action.SKIP:
            self._begin()
            if task.twin is not None:
                copy_step(task.twin, task.plan.folder)
                text = f"copied from {task.twin}"
            else:
                print(self.commands.status(task, text), flush=True)
                self.steps.make(task)
        score = self.steps.score(task)
        if task.commands:
            text = f"done in {duration(time.monotonic() - started)}"
        update_scorecard(self.run_dir, self.prepared.recipe, self.prepared.settings)
        alarms = read_alarms(task.plan.folder)
        tunes = any(alarm.tuned for alarm in alarms) and is_tunable(self.run_dir)
        warnings = [f"{alarm.text}; {alarm.advice(self.run_dir, tunes)}" for alarm in alarms]
        warnings += [line for line in [self.commands.outside(task)] if line]
        print(self.commands.status(task, text, score, warnings), flush=True)
        return alarms
