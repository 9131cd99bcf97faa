"""A call of the runner, and the command lines that repeat it."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tag2mask.core.pages import setting_text
from tag2mask.pipeline.extras import Extras
from tag2mask.pipeline.settings import Settings
from tag2mask.pipeline.slurm import DEFAULT as DEFAULT_CLUSTER

SUBMITTED = "TAG2MASK_SUBMITTED"
"""Variable of a job that holds the command line by which people submit what is not done."""


@dataclass(frozen=True)
class Request:
    """One call of ``tag2mask run``.

    Attributes:
        asked: the settings that were given for the whole run, None for the others.
        run_dir: the run folder.
        stages: stages to run; empty for all.
        steps: steps to run; empty for all.
        from_step: step to begin with; None for the first.
        rerun: steps to make again, whatever is there.
        extras: options of this call only.
        launcher: one of `tag2mask.pipeline.launchers.LAUNCHERS`.
        cluster: name of a cluster, or the path of its file.
        sbatch_args: further options for sbatch.
        check: check the data set, and what the run takes, before the first step.
        dry_run: print what would be started and what it takes, and make nothing.
        reuse: run folders whose steps are copied where they would come out the same.
        allow_empty: go on after a step whose result is of no use.
    """

    asked: Settings
    run_dir: Path
    stages: tuple[int, ...] = ()
    steps: tuple[str, ...] = ()
    from_step: str | None = None
    rerun: tuple[str, ...] = ()
    extras: Extras = field(default_factory=Extras)
    launcher: str = "local"
    cluster: str = DEFAULT_CLUSTER
    sbatch_args: tuple[str, ...] = ()
    check: bool = True
    dry_run: bool = False
    reuse: tuple[Path, ...] = ()
    allow_empty: bool = False


def after_requeue(request: Request) -> Request:
    """The request without ``--rerun``, in a job that Slurm has put back into its queue.

    Such a job goes on with what it has made anew before it was stopped.
    """
    if not request.rerun or request.launcher != "srun" or os.environ.get("SLURM_RESTART_COUNT", "0") == "0":
        return request
    print(f"this job was requeued: --rerun {' '.join(request.rerun)} held for its first start")
    return replace(request, rerun=())


def run_words(
    settings: Settings, run_dir: Path, stages: Sequence[int], request: Request | None = None
) -> list[str]:
    """The command line of ``tag2mask run`` with every setting of the run.

    Args:
        settings: what the run is made of.
        run_dir: the run folder.
        stages: stages to run; empty for all.
        request: its options for one call are added.
    """
    words = ["tag2mask", "run", settings.label, "--run-dir", str(run_dir)]
    for option in ("data", "data_root", "tags", "budget", "backbone", "weights", "seed", "rounds"):
        value = getattr(settings, option)
        if value is not None:
            words += [f"--{option.replace('_', '-')}", str(value)]
    words += ["--val-labels"] if settings.val_labels else []
    if stages:
        words += ["--stage", *map(str, stages)]
    if request is None:
        return words
    return [*words, *_call_words(request)]


def resume_words(request: Request, begun: bool) -> list[str]:
    """The command line of ``tag2mask run`` that continues a stopped run.

    In a job that a run has submitted it is the one that submits again, which people can give.

    Args:
        request: the call that was stopped.
        begun: whether it got as far as its first step; from then on the folder remembers its settings.
    """
    asked, typed = request.asked, os.environ.get(SUBMITTED, "")
    if request.launcher == "srun" and typed:
        words = shlex.split(typed)
        own = ["--rerun", *request.rerun] if request.rerun else []
        own += ["--allow-empty"] if request.allow_empty and "--allow-empty" not in words else []
        at = words.index("--run-dir") + 2
        return [*words[:at], *own, *words[at:]]
    if not begun:
        return run_words(asked, request.run_dir, request.stages, request)
    words = ["tag2mask", "run", asked.label, "--run-dir", str(request.run_dir)]
    if request.stages:
        words += ["--stage", *map(str, request.stages)]
    return words + _call_words(request)


def launch_words(request: Request) -> list[str]:
    """The options that say how processes are started, and on what."""
    words = ["--launcher", request.launcher] if request.launcher != "local" else []
    if request.launcher == "slurm":
        words += ["--cluster", request.cluster]
        words += ["--sbatch-args", shlex.join(request.sbatch_args)] if request.sbatch_args else []
    return words


def _call_words(request: Request) -> list[str]:
    extras = request.extras
    words = ["--rerun", *request.rerun] if request.rerun else []
    words += ["--from", request.from_step] if request.from_step else []
    words += ["--step", *request.steps] if request.steps else []
    words += ["--devices", str(extras.devices.each)] if extras.devices.each else []
    words += ["--nodes", str(extras.devices.nodes)] if extras.devices.nodes else []
    words += ["--logger", extras.logger] if extras.logger else []
    words += ["--precision", extras.precision] if extras.precision else []
    words += [f"--{flag}" for flag in extras.flags]
    words += launch_words(request)
    words += [] if request.check else ["--no-check"]
    words += ["--allow-empty"] if request.allow_empty else []
    words += ["--reuse", *map(str, request.reuse)] if request.reuse else []
    for step, overrides in extras.overrides.items():
        for path, value in overrides.items():
            words += [f"--{step}.{path}", _typed(value)]
    return words + (["--", *extras.args] if extras.args else [])


def _typed(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:  # .inf and .nan, which JSON does not have
        return setting_text(value)


def check_words(settings: Settings) -> list[str]:
    """The command line (behind ``tag2mask``) that checks the data set."""
    return ["data", "check", *dataset_words(settings)]


def dataset_words(settings: Settings) -> list[str]:
    """The options that name the data set of a run."""
    words = ["--data", settings.data or ""]
    words += ["--data-root", settings.data_root] if settings.data_root else []
    return words + (["--tags", settings.tags] if settings.tags else [])
