"""The batch file of a job of Slurm: its options, the command, and whether it goes back into the queue."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Sequence
from pathlib import Path

from tag2mask.core.errors import STOPPED_CODE, UserError
from tag2mask.pipeline.request import SUBMITTED
from tag2mask.pipeline.slurm import Job

_SIGNAL = "B:USR1@120"
"""Seconds before its time limit at which a job is told: a step needs that long to end its batch or image."""


def batch_text(
    job: Job, label: str, folder: Path, more: Sequence[str], command: Sequence[str], typed: Sequence[str]
) -> str:
    """The batch file of a step.

    A step that is stopped before its end (by the time limit or by a preemption) puts its job back into the
    queue; it then goes on from its last epoch or image.

    Args:
        job: the step, and what it is given.
        label: name of the recipe, for the job's name.
        folder: where the job's output goes.
        more: further options, as they are written for sbatch.
        command: the runner's command line for this step, with the launcher ``srun``.
        typed: the one by which people submit what is not done.

    Raises:
        UserError: an option has a line break, or the folder a backslash.
    """
    if "\\" in str(folder):
        # from the name of the job's output: in a folder that is not there, the job fails unheard
        raise UserError(f"{folder} has a backslash, which Slurm loses: rename it, or give another --run-dir")
    own = [
        f"--job-name=tag2mask-{label.replace(':', '-')}-{job.name}",
        f"--nodes={job.devices.nodes}",
        f"--ntasks-per-node={job.devices.each}",
        f"--output={str(folder).replace('%', '%%')}/{job.name}-%j.txt",
        "--open-mode=append",
        "--requeue",
        f"--signal={_SIGNAL}",
        *(f"--{key}" if value is True else f"--{key}={value}" for key, value in job.options.items()),
    ]
    options = [*map(shlex.quote, own), *_together(more)]
    for option in options:
        if "\n" in option:
            # sbatch would read no option behind it
            raise UserError(f"{option!r} has a line break, which no option of sbatch can have: rename it")
    lines = [f"#SBATCH {option}" for option in options]
    began = folder / f"{job.name}.began"
    script = [*_script(command, typed, began), *_back_lines(job.plan.folder, began)]
    return "\n".join(["#!/bin/bash", *lines, "", *script]) + "\n"


def _together(more: Sequence[str]) -> list[str]:
    """Options as they stand on lines: ``-p gpu``, a name and its value, on one."""
    lines = list[str]()
    for word in more:
        quoted = shlex.quote(word)
        if lines and not word.startswith("-"):
            lines[-1] += f" {quoted}"
        else:
            lines.append(quoted)
    return lines


def _script(command: Sequence[str], typed: Sequence[str], began: Path) -> list[str]:
    return [
        f"cd {shlex.quote(str(Path.cwd()))} || exit 1",
        f"export {SUBMITTED}={shlex.quote(shlex.join(typed))}",
        "# srun does not take the cores of a task from the job any more",
        "export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}",
        "# the clock of a file server may be hours off: files are compared with one that lies there, too",
        f"touch {shlex.quote(str(began))}",
        "# before the command: a signal that comes early would end this shell",
        "trap 'told=1; kill -USR1 $!' USR1",
        "trap 'kill -TERM $!' TERM",
        "# in the background: only so does bash pass signals on before the command has ended",
        f"{shlex.join(command)} &",
        "runner=$!",
        "wait $runner; code=$?",
        "# a signal ends wait, too; a second wait gives the command's own code",
        "while [ $code -gt 128 ] && kill -0 $runner 2>/dev/null; do wait $runner; code=$?; done",
        "wait $runner; code=$?",
    ]


def _back_lines(folder: Path, began: Path) -> list[str]:
    """The end of a batch file: whether the job goes back into the queue.

    Args:
        folder: the step's folder.
        began: a file that is as old as this start of the job.
    """
    made = " ".join(shlex.quote(str(folder / name)) for name in ("checkpoints", "out"))
    newer = f"-newer {shlex.quote(str(began))}"
    return [
        "# the signal itself ends a command that has not yet imported what it needs to answer",
        f'[ $code = {STOPPED_CODE} ] || [ "$told $code" = "1 {128 + signal.SIGUSR1}" ] || exit $code',
        "# otherwise the same would happen for ever",
        'if [ "$told" ] && [ "${SLURM_RESTART_COUNT:-0}" != 0 ] &&',
        f'  [ -z "$(find {made} -type f {newer} -print -quit 2> /dev/null)" ]; then',
        '  echo "not requeued: no epoch or image was done within the time limit; it needs a longer one" >&2',
        "  exit $code",
        "fi",
        "# one that was cancelled stays so, and Slurm itself requeues one that it, or you, preempt",
        "case \"$(squeue --noheader --jobs=$SLURM_JOB_ID --format='%T %r')\" in",
        "  '' | RUNNING* | *TimeLimit)",
        "    echo 'back into the queue, and on from here by itself'",
        "    scontrol requeue $SLURM_JOB_ID;;",
        "esac",
        "exit $code",
    ]
