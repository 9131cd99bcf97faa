"""A run as jobs of Slurm: one for each step, with what the step needs, each after the one before it."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tag2mask.artifacts import atomic_write_text
from tag2mask.core.errors import UserError, unknown_name
from tag2mask.core.library import Library
from tag2mask.core.pages import Page
from tag2mask.pipeline.devices import Devices
from tag2mask.pipeline.plan import StepPlan, yaml_text

FOLDER = "slurm"
"""In a run folder: batch files, the settings of their steps, and what the jobs print."""
SUBMIT_NAME = "submit.sh"
JOBS_NAME = "jobs.txt"
DEFAULT = "slurm"
"""The cluster where none is named."""
_EVERY = "all"
_OPTION = re.compile(r"[a-z][a-z0-9-]*")


class Job(NamedTuple):
    """What a step's job is given.

    Attributes:
        plan: the step.
        devices: tasks on each node, and nodes.
        options: long options of sbatch, without dashes.
    """

    plan: StepPlan
    devices: Devices
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """The step's name."""
        return self.plan.step.name


def cluster_page(library: Library, name: str) -> Page:
    """The page of a cluster, checked.

    Args:
        library: the configurations.
        name: name in ``conf/cluster``, or the path of a file.

    Raises:
        UserError: there is none, it has parts for no kind of step, or an option that sbatch cannot have.
    """
    page = library.page(library.find("cluster", name))
    known = (_EVERY, *library.names("steps"))
    for kind, part in page.plain.items():
        if kind not in known:
            raise UserError(f"{page.where(kind)}: {unknown_name('kind of step', str(kind), known)}")
        if not isinstance(part, Mapping):
            raise UserError(
                f"{page.where(kind)}: {kind} must be options of sbatch, such as {{time: '8:00:00'}}"
            )
        for key, value in part.items():
            if not _OPTION.fullmatch(str(key)):
                raise UserError(
                    f"{page.where(f'{kind}.{key}')}: {key!r} must be a long option of sbatch without "
                    "the dashes in front, such as cpus-per-task"
                )
            if isinstance(value, list | dict):
                raise UserError(
                    f"{page.where(f'{kind}.{key}')}: {key} must be one value, as it is written for sbatch, "
                    f"got {value!r}"
                )
    return page


def job_of(page: Page, plan: StepPlan) -> Job:
    """What a cluster gives to the job of a step: the parts of its kinds, the most general first.

    ``devices`` and ``nodes`` of a part are for steps that gain nothing from more; ``{devices}`` in an option
    stands for the devices on each node; null and false take an option away.

    Raises:
        UserError: ``devices`` or ``nodes`` is no number.
    """
    found: dict[str, Any] = {}
    for kind in (_EVERY, *plan.step.bases):
        found |= page.plain.get(kind, {})
    most = {}
    for key, asked in (("devices", plan.devices.each), ("nodes", plan.devices.nodes)):
        value = found.pop(key, None)
        value = asked or 1 if value is None else value
        if type(value) is not int or value < 1:  # true is an int, too
            raise UserError(
                f"{page.path}: {key} of {plan.step.name} must be a number from 1 on, got {value!r}"
            )
        most[key] = value
    devices = Devices(most["devices"], most["nodes"])
    options = {
        key: value.replace("{devices}", str(devices.each)) if isinstance(value, str) else value
        for key, value in found.items()
        if value is not None and value is not False
    }
    return Job(plan, devices, options)


def submit_text(folder: Path, files: Mapping[str, Path], after: str | None) -> str:
    """A script that submits the jobs, each after the one before it.

    Args:
        folder: the folder of the batch files.
        files: step -> its batch file, in order.
        after: number of the job that the first one waits for, or None.
    """
    lines = [
        "#!/bin/bash",
        "# Submits the jobs of a run, each for when the one before it has ended well.",
        "set -e",
        "# in a shell of salloc, these are of that job: srun refuses a second kind of memory, for example",
        "for name in ${!SLURM_*}; do",
        "  case $name in SLURM_CONF* | SLURM_CLUSTERS | SLURM_JWT) ;; *) unset $name ;; esac",
        "done",
    ]
    before = after
    for step, path in files.items():
        words = f"sbatch --parsable --kill-on-invalid-dep=yes {shlex.quote(str(path))}"
        if before is not None:
            words = words.replace("sbatch", f"sbatch --dependency=afterok:{before}", 1)
        lines += [
            f"{step}=$({words})",
            f"{step}=${{{step}%%;*}}",
            f'echo "{step}: job ${step}"',
            f'echo "{step} ${step}" >> {shlex.quote(str(folder / JOBS_NAME))}',
        ]
        before = f"${step}"
    return "\n".join(lines) + "\n"


def submitted(run_dir: Path) -> dict[str, str]:
    """Steps that were submitted before, in order, each with the number of its last job.

    Lines that name no job, as a full disk or an editor may leave them, are passed over.
    """
    path = run_dir / FOLDER / JOBS_NAME
    if not path.is_file():
        return {}
    jobs: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        step, _, number = line.partition(" ")
        if number.isdecimal():
            jobs.pop(step, None)
            jobs[step] = number
    return jobs


def queued() -> set[str] | None:
    """Numbers of the jobs that wait or run; None where Slurm cannot be asked."""
    try:
        words = ["squeue", "--noheader", "--format=%i"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return set(done.stdout.split())


def files_of(jobs: Sequence[Job], texts: Sequence[str], folder: Path, after: str | None) -> dict[Path, str]:
    """Batch files, the settings of their steps, and the script that submits the jobs: path -> text."""
    files: dict[Path, str] = {}
    batch: dict[str, Path] = {}
    for job, text in zip(jobs, texts, strict=True):
        batch[job.name] = folder / f"{job.name}.sbatch"
        files[batch[job.name]] = text
        files[folder / f"{job.name}.yaml"] = yaml_text(job.plan.settings)
    files[folder / SUBMIT_NAME] = submit_text(folder, batch, after)
    return files


def submit(files: Mapping[Path, str], folder: Path) -> str:
    """Write the files of a submission and hand the jobs to Slurm.

    Returns:
        a line for each job.

    Raises:
        UserError: sbatch refused a job.
    """
    for path, text in files.items():
        atomic_write_text(path, text)
    script = folder / SUBMIT_NAME
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)
    if done.returncode:
        before = done.stdout.splitlines()
        jobs = [path for path in files if path.suffix == ".sbatch"]
        raise UserError(
            f"sbatch refused the job of {jobs[min(len(before), len(jobs) - 1)]}: {done.stderr.strip()}; "
            "see --cluster and --sbatch-args"
            + (f" (submitted before: {', '.join(before)})" if before else "")
        )
    return done.stdout.strip()
