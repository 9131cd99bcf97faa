"""A request checked against the configurations and the run folder."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tag2mask.artifacts import RUN_NAME
from tag2mask.core.errors import UserError, unknown_name
from tag2mask.core.library import FULL, Library, dataset_config, open_library
from tag2mask.pipeline.plan import StepPlan, plan_steps
from tag2mask.pipeline.recipe import load_recipe
from tag2mask.pipeline.request import Request, launch_words, run_words
from tag2mask.pipeline.resolve import check_sections
from tag2mask.pipeline.settings import Settings, check_dataset, merge, normalise, read_run, require_files
from tag2mask.pipeline.slurm import queued, submitted
from tag2mask.pipeline.state import is_complete
from tag2mask.pipeline.steps import Recipe, Step
from tag2mask.pipeline.twins import check_runs
from tag2mask.pipeline.val_copies import with_val_copies


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
    known = read_run(request.run_dir)
    settings = merge(request.run_dir, normalise(request.asked), known)
    try:
        return _prepare(request, known, settings)
    except UserError as error:
        names = ("data", "budget", "backbone")
        remembered = [name for name in names if _is_from(known, request, name, error)]
        if not remembered:
            raise
        place = f"{' and '.join(remembered)} of {request.run_dir / RUN_NAME}"
        raise UserError(f"{error} (remembered as {place})") from error


def _is_from(known: Settings | None, request: Request, name: str, error: UserError) -> bool:
    """Whether an error is about a setting that the user has not given now, but the run folder remembers."""
    remembered = getattr(known, name, None)
    return remembered is not None and getattr(request.asked, name) is None and repr(remembered) in str(error)


def _prepare(request: Request, known: Settings | None, settings: Settings) -> Prepared:
    require_files(settings, str(request.run_dir / RUN_NAME) if known else "")
    library = open_library()
    recipe = recipe_of(library, settings)
    check_sections(library, recipe)
    dataset = dataset_config(library, settings.data or "")
    classes = dataset["init_args"].get("classes")
    settings = replace(settings, dataset={"class_path": dataset["class_path"], "classes": classes})
    check_dataset(request.run_dir, settings, known)
    steps = choose_steps(recipe, request)
    # absolute, so that a step finds the same configuration however the folder is spelled next time
    plans = plan_steps(library, recipe, steps, settings, request.run_dir.resolve(), request.extras)
    _require_inputs(recipe, settings, request, [plan.step for plan in plans.values()])
    check_runs(request.reuse)
    return Prepared(request, recipe, known, settings, plans)


def recipe_of(library: Library, settings: Settings) -> Recipe:
    """The recipe of a run, with its variant, its rounds and, where they are asked for, its copies on val.

    Raises:
        UserError: see `load_recipe` and `with_val_copies`.
    """
    budget = settings.budget or FULL
    recipe = load_recipe(library, settings.recipe, settings.variant, settings.rounds, budget)
    return with_val_copies(library, recipe) if settings.val_labels else recipe


def choose_steps(recipe: Recipe, request: Request) -> list[Step]:
    """The steps that the user asked for, in order.

    Raises:
        UserError: there is no such stage or step, or settings are given to a step that is not chosen.
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
    if request.steps:
        wanted = [recipe.step(name) for name in request.steps]
        chosen = [step for step in chosen if step in wanted]
    for name in request.rerun:
        if recipe.step(name) not in chosen:
            raise UserError(f"--rerun {name}: the step is not among the chosen ones")
    for name in request.extras.overrides:
        known = {word for step in recipe.steps for word in step.names}
        origin = request.extras.origin(name)
        if name not in known:
            raise unknown_name(f"step of {recipe.label}", name, known, f"(in {origin})")
        if not any(name in step.names for step in chosen):
            raise UserError(f"{origin} sets something of {name}, which is not among the chosen steps")
    return chosen


def _require_inputs(recipe: Recipe, settings: Settings, request: Request, steps: Sequence[Step]) -> None:
    names = {step.name for step in steps}
    submitted_before = coming(request, recipe)
    for step in steps:
        for source in step.inputs.values():
            if (
                source in names
                or source in submitted_before
                or is_complete(request.run_dir / source, recipe.step(source))
            ):
                continue
            words = run_words(settings, request.run_dir, [recipe.step(source).stage]) + launch_words(request)
            words += ["--reuse", *map(str, request.reuse)] if request.reuse else []
            raise UserError(
                f"step {step.name} reads {source}, which is not complete in {request.run_dir}; "
                f"make it first: {shlex.join(words)}"
            )


def coming(request: Request, recipe: Recipe) -> list[str]:
    """Steps that are not complete, but whose jobs wait or run; in the order of their jobs."""
    jobs = submitted(request.run_dir) if request.launcher == "slurm" else {}
    if not jobs:
        return []
    known, here = {step.name: step for step in recipe.steps}, queued()
    return [
        name
        for name, number in jobs.items()
        if name in known
        and (here is None or number in here)
        and not is_complete(request.run_dir / name, known[name])
    ]
