"""The tasks of a run, one list for ``--dry-run`` and for the run itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tag2mask.artifacts import SCORE_NAME, SCORE_SOURCES_NAME, manifest_hash
from tag2mask.pipeline.devices import check_batches
from tag2mask.pipeline.plan import StepPlan
from tag2mask.pipeline.prepared import Prepared, coming
from tag2mask.pipeline.state import Action, Decision, changed_files, decide
from tag2mask.pipeline.twins import find_twin


@dataclass(frozen=True)
class Task:
    """What a run does about one step.

    Attributes:
        number: place of the step in the recipe, from 1.
        plan: how its commands are started.
        decision: what is to be done, why, and with which commands.
        parents: hash of the manifest of each input; None for one that is made before.
        twin: folder of another run to copy it from.
        scores: whether it is scored afterwards.
    """

    number: int
    plan: StepPlan
    decision: Decision
    parents: dict[str, str | None]
    twin: Path | None
    scores: bool

    @property
    def commands(self) -> tuple[str, ...]:
        """Commands of the step that are to be started."""
        return () if self.twin is not None else self.decision.commands

    @property
    def text(self) -> str:
        """What is done about the step, and why."""
        if self.twin is not None:
            return f"to be copied from {self.twin}"
        reasons = f": {'; '.join(self.decision.reasons)}" if self.decision.reasons else ""
        return self.decision.action.value + reasons


def list_tasks(prepared: Prepared) -> list[Task]:
    """What is to be done about each chosen step, in order; nothing is written.

    Raises:
        UserError: a manifest in the run folder is broken.
    """
    request, tasks = prepared.request, list[Task]()
    made: dict[str, str | None] = dict.fromkeys(coming(request, prepared.recipe))
    for number, step in enumerate(prepared.recipe.steps, 1):
        plan = prepared.plans.get(step.name)
        if plan is None:
            continue
        sources = plan.step.inputs.values()
        parents = {s: made[s] if s in made else manifest_hash(request.run_dir / s) for s in sources}
        decision = decide(plan, parents)
        if step.name in request.rerun and decision.action is not Action.NEW:
            decision = Decision(Action.AGAIN, step.commands, ("asked for by --rerun",))
        twin = find_twin(plan, decision, parents, request.reuse)
        if twin is not None:
            made[step.name] = manifest_hash(twin)
        elif decision.action not in (Action.SKIP, Action.MEND):
            made[step.name] = None
        kept = twin or (None if decision.action is Action.AGAIN else plan.folder)
        scored = kept is not None and _is_scored(replace(plan, folder=kept))
        tasks.append(Task(number, plan, decision, parents, twin, step.score and not scored))
    return tasks


def require_batches(prepared: Prepared) -> None:
    """Refuse devices among which the batch of a step that is to be trained cannot be shared out.

    Raises:
        UserError: with the numbers that work.
    """
    plans = [task.plan for task in list_tasks(prepared) if "fit" in task.commands]
    check_batches({plan.step.name: (plan.settings, plan.devices) for plan in plans})


def _is_scored(plan: StepPlan) -> bool:
    """Whether the step has a score, made with the masks of now."""
    return (plan.folder / SCORE_NAME).is_file() and not changed_files(plan, SCORE_SOURCES_NAME)
