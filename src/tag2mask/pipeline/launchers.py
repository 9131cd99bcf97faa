"""Ways to start the commands of a step: directly, under torchrun, in a Slurm job."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tag2mask.artifacts import atomic_write_text
from tag2mask.core.errors import UserError
from tag2mask.pipeline.devices import Devices

PROGRAM = (sys.executable, "-m", "tag2mask")
LAUNCHERS = ("local", "torchrun", "slurm", "srun")
SBATCH_NAME = "run.sbatch"

Wrap = Callable[[Sequence[str], Devices], list[str]]
"""Words behind ``tag2mask``, and the devices of the command -> the words to start."""


def local(program: Sequence[str]) -> Wrap:
    """Commands as they are; Lightning starts further processes for further devices by itself."""
    return lambda words, devices: [*program, *words]


def torchrun(program: Sequence[str]) -> Wrap:
    """Commands under torchrun, one process per device."""
    # torchrun as a module, because the script of that name on the PATH may be another Python's
    head = [program[0], "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    return lambda words, devices: [*head, str(devices.each or 1), *program[1:], *words]


def srun(program: Sequence[str]) -> Wrap:
    """Commands as steps of the Slurm job that we run in, one task per device."""

    def wrap(words: Sequence[str], devices: Devices) -> list[str]:
        head = ["srun", f"--nodes={devices.nodes or 1}", f"--ntasks={devices.count}"]
        head += [f"--ntasks-per-node={devices.each or 1}", "--kill-on-bad-exit=1"]
        return [*head, *program, *words]

    return wrap


def choose(launcher: str, program: Sequence[str]) -> Wrap:
    """The way to start a step's commands.

    Args:
        launcher: ``local``, ``torchrun`` or ``srun``.
        program: how ``tag2mask`` is called: interpreter, then its arguments.
    """
    ways = {"local": local, "torchrun": torchrun, "srun": srun}
    if launcher not in ways:
        raise ValueError(f"launcher must be one of {', '.join(ways)}, got {launcher!r}")
    return ways[launcher](program)


def sbatch_text(
    run_dir: Path, label: str, devices: int, options: Sequence[str], command: Sequence[str]
) -> str:
    """A Slurm batch file that runs the recipe in one job.

    Args:
        run_dir: the run folder; the job's output goes there.
        label: name of the recipe, for the job's name.
        devices: tasks on the node.
        options: further options for sbatch.
        command: the runner's command line, with the launcher ``srun``.
    """
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name=tag2mask-{label.replace(':', '-')}",
        "#SBATCH --nodes=1",
        f"#SBATCH --ntasks-per-node={devices}",
        f"#SBATCH --output={run_dir}/slurm-%j.txt",
        *(f"#SBATCH {option}" for option in options),
        "",
        f"cd {shlex.quote(str(Path.cwd()))} || exit 1",
        # exec: Slurm's signals reach the runner, which passes them on
        f"exec {shlex.join(command)}",
    ]
    return "\n".join(lines) + "\n"


def require_slurm(program: str) -> str:
    """The path of a program of Slurm.

    Raises:
        UserError: it is not on this machine.
    """
    path = shutil.which(program)
    if path is None:
        raise UserError(f"no {program} on this machine: log in to a Slurm cluster, or use --launcher local")
    return path


def submit(run_dir: Path, text: str) -> str:
    """Write the batch file into the run folder and hand it to Slurm.

    Returns:
        what sbatch said.

    Raises:
        UserError: there is no sbatch here, or it refused the job.
    """
    sbatch = require_slurm("sbatch")
    path = run_dir / SBATCH_NAME
    atomic_write_text(path, text)
    done = subprocess.run([sbatch, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"sbatch refused {path}: {done.stderr.strip()}; see --sbatch-args")
    return done.stdout.strip()
