"""The checks that come before anything is started or written."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tag2mask.core.errors import UserError
from tag2mask.pipeline.configs import dataset_config, find_conf, named_config, recipe_folder
from tag2mask.pipeline.plan import StepPlan, plan_steps
from tag2mask.pipeline.request import Request, run_words
from tag2mask.pipeline.reuse import check_runs
from tag2mask.pipeline.rounds import FULL
from tag2mask.pipeline.settings import Settings, check_dataset, merge, normalise, read_run
from tag2mask.pipeline.spec import Recipe, Step, load_recipe
from tag2mask.pipeline.state import is_complete


@dataclass(frozen=True)
class Prepared:
    """A run that passed every check that can be made without starting anything.

    Attributes:
        request: what the user asked for.
        recipe: the recipe or variant.
        known: what the run folder remembers, None for a new one.
        settings: what holds for this run.
        plans: the chosen steps, by name and in order.
    """

    request: Request
    recipe: Recipe
    known: Settings | None
    settings: Settings
    plans: dict[str, StepPlan]


def prepare(request: Request) -> Prepared:
    """Check a request against the configurations and the run folder; nothing is written.

    Raises:
        UserError: see `run_recipe`.
    """
    conf = find_conf()
    recipe = load_recipe(recipe_folder(conf, request.asked.recipe), request.asked.variant)
    known = read_run(request.run_dir)
    settings = merge(request.run_dir, normalise(request.asked), known)
    # how many rounds there are is only known with what the run folder remembers
    recipe = load_recipe(recipe.folder, recipe.variant, settings.rounds, settings.budget or FULL)
    dataset = dataset_config(named_config(conf, "data", settings.data or ""))
    classes = dataset["init_args"].get("classes")
    settings = replace(settings, dataset={"class_path": dataset["class_path"], "classes": classes})
    check_dataset(request.run_dir, settings, known)
    steps = choose_steps(recipe, request)
    # absolute, so that a stage finds the same configuration however the folder is spelled next time
    plans = plan_steps(conf, recipe, steps, settings, request.run_dir.resolve(), request.extras)
    _require_inputs(recipe, settings, request, steps)
    check_runs(request.reuse)
    return Prepared(request, recipe, known, settings, plans)


def choose_steps(recipe: Recipe, request: Request) -> list[Step]:
    """The steps that the user asked for, in order.

    Raises:
        UserError: there is no such stage or step, or options are given to a step that is not chosen.
    """
    steps = list(recipe.steps)
    if request.from_step is not None:
        steps = steps[steps.index(recipe.step(request.from_step)) :]
    stages = sorted({step.stage for step in steps})
    for stage in request.stages:
        if stage not in stages:
            where = f" from step {request.from_step} on" if request.from_step else ""
            raise UserError(
                f"{recipe.label} has no stage {stage}{where}; it has {', '.join(map(str, stages))}"
            )
    chosen = [step for step in steps if not request.stages or step.stage in request.stages]
    for name in request.extras.step_args:
        if recipe.step(name) not in chosen:
            raise UserError(f"--step-args names {name}, which is not among the chosen steps")
    return chosen


def _require_inputs(recipe: Recipe, settings: Settings, request: Request, steps: Sequence[Step]) -> None:
    names = {step.name for step in steps}
    for step in steps:
        for source in step.inputs.values():
            if source in names or is_complete(request.run_dir / source, recipe.step(source)):
                continue
            words = run_words(settings, request.run_dir, [recipe.step(source).stage])
            raise UserError(
                f"step {step.name} reads {source}, which is not complete in {request.run_dir}; "
                f"make it first: {shlex.join(words)}"
            )
