"""The options of ``tag2mask run``, and what is taken out of its words before argparse sees them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from tag2mask.core.commands import add_data_set, add_recipe, at_least
from tag2mask.core.errors import UserError
from tag2mask.core.flags import PRECISIONS, TRAINING_FLAGS
from tag2mask.core.pages import parse_value
from tag2mask.pipeline.launchers import LAUNCHERS
from tag2mask.pipeline.slurm import DEFAULT


def add_what(run: argparse.ArgumentParser) -> None:
    """What is run: recipe, data set, and what the run folder remembers."""
    add_recipe(run)
    run.add_argument("--variant", help="the same as RECIPE:VARIANT")
    add_data_set(run)
    run.add_argument("--run-dir", metavar="DIR", help="folder of the run (default: runs/RECIPE)")
    run.add_argument(
        "--weights", metavar="W", help="the backbone's weights: imagenet, none, or the path of a file"
    )
    run.add_argument("--seed", type=at_least(0), metavar="N", help="seed of everything random")
    run.add_argument(
        "--settings", metavar="FILE",
        help="YAML of settings for some steps, as 'tag2mask tune' writes it; --STEP.SETTING wins over it",
    )  # fmt: skip
    run.add_argument(
        "--val-labels", action="store_true",
        help="make and score the maps and labels of val too, by the networks of the run: steps STEP_val",
    )  # fmt: skip


def add_which(run: argparse.ArgumentParser) -> None:
    """Which steps are made."""
    which = run.add_argument_group("which steps")
    which.add_argument(
        "--stage", type=int, nargs="+", action="extend", choices=(1, 2, 3), default=[], metavar="N",
        help="only the steps of stage 1, 2 or 3; the steps they read must be done",
    )  # fmt: skip
    which.add_argument(
        "--step", nargs="+", action="extend", default=[], metavar="STEP", help="only these steps"
    )
    which.add_argument(
        "--from",
        dest="from_step",
        metavar="STEP",
        help="begin with this step and leave earlier ones as they are",
    )
    which.add_argument(
        "--rerun", nargs="+", action="extend", default=[], metavar="STEP",
        help="make these steps again, and those that read them, whatever is there",
    )  # fmt: skip
    which.add_argument(
        "--reuse", nargs="+", action="extend", default=[], metavar="RUN",
        help="earlier runs: copy a step from there if it was made with the same settings and inputs",
    )  # fmt: skip


def add_how(run: argparse.ArgumentParser) -> None:
    """How steps are started; the run folder does not remember it."""
    how = run.add_argument_group("how")
    how.add_argument(
        "--devices", type=at_least(1), metavar="N", help="devices (GPUs) per step, on each machine"
    )
    how.add_argument(
        "--nodes", type=at_least(1), metavar="N", help="machines per step, with DEVICES each (slurm and srun)"
    )
    how.add_argument(
        "--precision", choices=PRECISIONS, help="numbers that networks compute in, instead of the budget's"
    )
    for flag, what in TRAINING_FLAGS.items():
        how.add_argument(f"--{flag}", action="append_const", dest="flags", const=flag, help=what)
    how.add_argument("--logger", metavar="NAME", help="csv, tensorboard or wandb, instead of the recipe's")
    _add_launcher(how)
    how.add_argument(
        "--no-check", action="store_true",
        help="leave out the check of the data set, and of the disk and memory that the run takes",
    )  # fmt: skip
    how.add_argument(
        "--allow-empty", action="store_true",
        help="go on after a step whose result is of no use, e.g. labels without any foreground",
    )  # fmt: skip
    how.add_argument(
        "--dry-run", action="store_true", help="print the commands and what they will take, and make nothing"
    )


def _add_launcher(how: argparse._ArgumentGroup) -> None:
    how.add_argument(
        "--launcher", choices=LAUNCHERS, default="local",
        help="local (default): Lightning starts the processes; torchrun; slurm: submit a job for each step; "
        "srun: we are in a job already",
    )  # fmt: skip
    how.add_argument(
        "--cluster", metavar="NAME", default=DEFAULT,
        help="what the jobs of a cluster get: name in conf/cluster, or the path of a .yaml file "
        f"(default: {DEFAULT})",
    )  # fmt: skip
    how.add_argument(
        "--sbatch-args", metavar="OPTIONS", default="",
        help="further options for sbatch, e.g. '--partition=gpu --time=8:00:00'",
    )  # fmt: skip


Parse = Callable[..., tuple[argparse.Namespace, list[str]]]
"""The method ``parse_known_args`` of a parser."""


def splitting_at_dashes(parse: Parse) -> Parse:
    """A parser's ``parse_known_args`` that also takes ``--STEP.SETTING VALUE`` and what follows ``--``."""

    def split(args: Sequence[str], namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:
        words = list(args)
        at = words.index("--") if "--" in words else len(words)
        own, overrides = _take_overrides(words[:at])
        parsed, unknown = parse(_guarded(own), namespace)
        parsed.extra, parsed.overrides = words[at + 1 :], overrides
        return parsed, unknown

    return split


def _take_overrides(words: Sequence[str]) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The words without ``--STEP.SETTING VALUE``, and these by step and setting."""
    rest, overrides = list[str](), dict[str, dict[str, Any]]()
    remaining = iter(words)
    for word in remaining:
        if word == "--sbatch-args":  # its value may look like a setting: --mail-user me@example.org
            rest += [word, *islice(remaining, 1)]
            continue
        option, equals, value = word.partition("=")
        step, dot, path = option.removeprefix("--").partition(".")
        if not (word.startswith("--") and dot):
            rest.append(word)
            continue
        text = value if equals else next(remaining, None)
        if text is None:
            raise UserError(f"{option} needs a value")
        overrides.setdefault(step, {})[path] = parse_value(text, option)
    return rest, overrides


def _guarded(words: list[str]) -> list[str]:
    """Add a space to the options for sbatch: argparse would take their dashes for options of its own."""
    for at in [i + 1 for i, word in enumerate(words[:-1]) if word == "--sbatch-args"]:
        words[at] += " " if words[at].startswith("-") else ""
    return words
