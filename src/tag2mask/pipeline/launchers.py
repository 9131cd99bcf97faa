"""Ways to start the commands of a step: directly, under torchrun, as a step of a Slurm job."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence

from tag2mask.core.errors import UserError
from tag2mask.pipeline.devices import Devices

PROGRAM = (sys.executable, "-m", "tag2mask")
LAUNCHERS = ("local", "torchrun", "slurm", "srun")

_PLACES = frozenset({
    "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_NPROCS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID",
    "WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "MASTER_ADDR",
    "MASTER_PORT", "TORCHELASTIC_RUN_ID", "JSM_NAMESPACE_RANK",
})  # fmt: skip
"""Variables by which a launcher tells a process its place among others, for Lightning to find."""

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


def misleading(launcher: str) -> frozenset[str]:
    """Variables that the processes of a launcher must not get.

    In a shell of ``salloc`` or of a pod, they are of another program: Lightning would take itself for one of
    its processes, and refuse its devices or wait for the others for ever. srun gives its own.
    """
    return frozenset() if launcher == "srun" else _PLACES


def require_slurm(program: str) -> str:
    """The path of a program of Slurm.

    Raises:
        UserError: it is not on this machine.
    """
    path = shutil.which(program)
    if path is None:
        raise UserError(f"no {program} on this machine: log in to a Slurm cluster, or use --launcher local")
    return path
