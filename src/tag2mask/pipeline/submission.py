"""What a run hands to Slurm: the jobs of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tag2mask.core.errors import UserError
from tag2mask.core.library import open_library
from tag2mask.pipeline import slurm
from tag2mask.pipeline.batch_file import batch_text
from tag2mask.pipeline.devices import DEVICES, NODES, check_batches
from tag2mask.pipeline.launchers import require_slurm
from tag2mask.pipeline.lock import RunLock
from tag2mask.pipeline.prepared import Prepared, coming
from tag2mask.pipeline.request import Request, resume_words, run_words
from tag2mask.pipeline.settings import write_run
from tag2mask.pipeline.state import Action
from tag2mask.pipeline.tasks import Task, list_tasks


def submit_run(prepared: Prepared, program: Sequence[str]) -> str:
    """Submit a job for each step that is to be made, or with ``--dry-run`` give the text of all files.

    Returns:
        what is to be printed.

    Raises:
        UserError: there is no Slurm here, it refused a job, a step's job is in the queue already, a runner
            is at work in the folder, or a batch cannot be shared out.
    """
    files = submission(prepared, program)
    folder = prepared.request.run_dir.resolve() / slurm.FOLDER
    if prepared.request.dry_run:
        return "\n".join(f"# {path}\n{text}" for path, text in files.items()).rstrip()
    if len(files) == 1:
        return "nothing to submit: all chosen steps are done"
    require_slurm("sbatch")
    _refuse_twice(prepared.request.run_dir, [path.stem for path in files if path.suffix == ".sbatch"])
    _refuse_busy(prepared)
    write_run(prepared.request.run_dir, prepared.settings)
    return slurm.submit(files, folder)


def submission(prepared: Prepared, program: Sequence[str]) -> dict[Path, str]:
    """The files of the jobs: path -> text."""
    request = prepared.request
    page = slurm.cluster_page(open_library(), request.cluster)
    tasks = [task for task in list_tasks(prepared) if _is_open(task)]
    jobs = [slurm.job_of(page, task.plan) for task in tasks]
    trained = {t.plan.step.name: (t.plan.settings, j.devices) for t, j in zip(tasks, jobs, strict=True)}
    check_batches({t.plan.step.name: trained[t.plan.step.name] for t in tasks if "fit" in t.commands})
    run_dir = request.run_dir.resolve()
    folder = run_dir / slurm.FOLDER
    texts = []
    for place, job in enumerate(jobs):
        own = _request_of(request, job, first=place == 0)
        words = [*program, *run_words(prepared.settings, run_dir, (), own)[1:]]
        later = {other.name for other in jobs[place + 1 :]}
        again = replace(request, run_dir=run_dir, rerun=tuple(n for n in request.rerun if n in later))
        typed = resume_words(again, begun=True)
        texts.append(batch_text(job, prepared.recipe.label, folder, request.sbatch_args, words, typed))
    return slurm.files_of(jobs, texts, folder, _after(prepared))


def _refuse_twice(run_dir: Path, steps: Sequence[str]) -> None:
    """Refuse a second job for a step: it would find the run folder in use, and fail."""
    jobs, here = slurm.submitted(run_dir), slurm.queued()
    busy = {step: jobs[step] for step in steps if step in jobs and (here is None or jobs[step] in here)}
    if busy:
        named = ", ".join(f"{step}: job {number}" for step, number in busy.items())
        if here is None:
            raise UserError(
                f"submitted before: {named}; squeue does not say whether they are over: try again later, or "
                f"delete {run_dir / slurm.FOLDER / slurm.JOBS_NAME} if they are"
            )
        others = [step for step in steps if step not in busy]
        way = f", or submit the others with --step {' '.join(others)}" if others else ""
        raise UserError(
            f"submitted before, and not over: {named}; wait for them, or give the command again after "
            f"scancel {' '.join(busy.values())}{way}"
        )


def _refuse_busy(prepared: Prepared) -> None:
    """Refuse a folder in which a runner is at work: the first job would find it in use, and all would end.

    One in a job that ours wait for does not count.
    """
    if not coming(prepared.request, prepared.recipe):
        with RunLock(prepared.request.run_dir):
            pass


def waiting_line(run_dir: Path) -> str:
    """What to know of jobs in the queue before a run that is none of them; "" where there are none."""
    jobs = slurm.submitted(run_dir)
    here = (slurm.queued() or set()) if jobs else set()
    waiting = {step: number for step, number in jobs.items() if number in here}
    if not waiting:
        return ""
    named = ", ".join(f"{step}: job {number}" for step, number in waiting.items())
    return (
        f"submitted, and not over: {named}; a job that starts while this run works finds the run folder "
        f"in use, and fails: scancel {' '.join(waiting.values())}"
    )


def _is_open(task: Task) -> bool:
    return task.decision.action is not Action.SKIP or task.scores


def _request_of(request: Request, job: slurm.Job, first: bool) -> Request:
    """The call of a step's own job."""
    step, extras = job.plan.step, request.extras
    own = {
        name: {path: value for path, value in settings.items() if path not in (DEVICES, NODES)}
        for name, settings in extras.overrides.items()
        if name in step.names
    }
    return replace(
        request,
        launcher="srun",
        dry_run=False,
        stages=(),
        from_step=None,
        steps=(step.name,),
        rerun=tuple(name for name in request.rerun if name == step.name),
        extras=replace(extras, devices=job.devices, overrides=own),
        check=request.check and first,
    )


def _after(prepared: Prepared) -> str | None:
    """Number of the job that the first one has to wait for: the last one that is not done yet."""
    numbers = slurm.submitted(prepared.request.run_dir)
    waiting = [name for name in coming(prepared.request, prepared.recipe) if name not in prepared.plans]
    return numbers[waiting[-1]] if waiting else None
