"""What a run would start: for ``--dry-run``, and for the batch file of a Slurm job."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from tag2mask.artifacts import manifest_hash
from tag2mask.pipeline import launchers, progress
from tag2mask.pipeline.prepare import Prepared
from tag2mask.pipeline.request import run_words
from tag2mask.pipeline.reuse import find_twin
from tag2mask.pipeline.settings import Settings
from tag2mask.pipeline.state import Action, decide


def check_words(settings: Settings) -> list[str]:
    """The command line (behind ``tag2mask``) that checks the data set."""
    words = ["data", "check", "--data", settings.data or ""]
    words += ["--data-root", settings.data_root] if settings.data_root else []
    return words + (["--tags", settings.tags] if settings.tags else [])


def batch_file(prepared: Prepared, program: Sequence[str]) -> str:
    """The Slurm batch file that runs what was asked for in one job."""
    request = replace(prepared.request, launcher="srun", dry_run=False)
    run_dir = request.run_dir.resolve()
    words = [*program, *run_words(prepared.settings, run_dir, request.stages, request)[1:]]
    devices = request.extras.devices or 1
    return launchers.sbatch_text(run_dir, prepared.recipe.label, devices, request.sbatch_args, words)


def show_plan(prepared: Prepared, program: Sequence[str]) -> None:
    """Print every command that would be started, each under a line on its step.

    Raises:
        UserError: a manifest in the run folder is broken.
    """
    request, steps = prepared.request, prepared.recipe.steps
    wrap = launchers.choose(request.launcher, program, request.extras.devices)
    if request.check:
        print(shlex.join([*program, *check_words(prepared.settings)]))
    made: set[str] = set()
    for index, step in enumerate(steps, 1):
        plan = prepared.plans.get(step.name)
        if plan is None:
            continue
        parents = {s: None if s in made else manifest_hash(request.run_dir / s) for s in step.inputs.values()}
        decision = decide(plan, parents)
        reasons = f" ({'; '.join(decision.reasons)})" if decision.reasons else ""
        twin = find_twin(plan, decision, parents, request.reuse)
        if twin is not None:
            print("# " + progress.status_line(index, len(steps), step.name, f"to be copied from {twin}"))
            made.add(step.name)
            continue
        print("# " + progress.status_line(index, len(steps), step.name, decision.action.value + reasons))
        if decision.action in (Action.NEW, Action.AGAIN):
            made.add(step.name)
        known = {name: value for name, value in parents.items() if value is not None}
        for command in decision.commands:
            # a fingerprint includes the inputs' hashes, so it is not known before they are made
            whole = len(known) == len(parents)
            fingerprint = plan.fingerprinted(command, known)[0] if whole else "LATER"
            print(shlex.join(wrap(plan.words(command, fingerprint))))
        if decision.commands and step.score:
            print(shlex.join([*program, "score-step", str(plan.folder)]))
    print(shlex.join([*program, "report", str(request.run_dir)]))
