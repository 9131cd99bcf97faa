"""The command ``tag2mask run``."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tag2mask.core.commands import add_command, add_data_set, add_recipe, at_least
from tag2mask.core.errors import UserError
from tag2mask.core.flags import PRECISIONS, TRAINING_FLAGS
from tag2mask.core.pages import Layer, Setting, parse_value, read_page
from tag2mask.pipeline.devices import Devices
from tag2mask.pipeline.launchers import LAUNCHERS
from tag2mask.pipeline.plan import Extras
from tag2mask.pipeline.request import Request
from tag2mask.pipeline.runner import run_recipe
from tag2mask.pipeline.settings import Settings, absolute
from tag2mask.pipeline.slurm import DEFAULT
from tag2mask.pipeline.steps import split_label

_RUN_TEXT = """Run a recipe, or some of its steps. Every step is a process of its own that fills one
folder of the run. What is done is skipped, what was stopped goes on where it stopped, and what was
made with other settings or inputs is made again (the old folder is kept as STEP.previous).

The run folder remembers data set, budget, backbone, weights and seed: say them once.

Settings of one step: --STEP.SETTING VALUE, with the names that 'tag2mask recipes show RECIPE' prints;
in a recipe with rounds, --'STEP_{round}'.SETTING VALUE sets it in every round."""

_RUN_EXAMPLES = """examples:
  tag2mask run psa --data shapes --run-dir runs/demo
  tag2mask run psa:no_crf --data voc --data-root /data/VOC2012 --run-dir runs/no_crf --dry-run
  tag2mask run ial --data voc --data-root /data/VOC2012 --run-dir runs/ial --reuse runs/psa
  tag2mask run psa --run-dir runs/psa --cam.model.init_args.optimization.lr 0.02
  tag2mask run psa --run-dir runs/psa --stage 3 -- --trainer.max_epochs 5
  tag2mask run path/to/my_recipe.yaml --data shapes

'tag2mask recipes' lists the recipes, their steps and their variants."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``run`` to the command line."""
    run = add_command(
        subparsers,
        "run",
        "run a recipe, step by step",
        _RUN_TEXT,
        _RUN_EXAMPLES,
        usage="%(prog)s RECIPE[:VARIANT] --data NAME [options] [--STEP.SETTING VALUE] [-- options for all]",
    )
    _add_what(run)
    _add_which(run)
    _add_how(run)
    run.set_defaults(handler=_run, extra=[], overrides={})
    # argparse has no notion of "everything after -- is for somebody else"
    setattr(run, "parse_known_args", _splitting_at_dashes(run.parse_known_args))  # noqa: B010


def _add_what(run: argparse.ArgumentParser) -> None:
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


def _settings_of(path: str | None) -> dict[str, Layer]:
    """What a file of settings says of each step; "" holds the line of the step itself.

    Raises:
        UserError: the file is missing, is not YAML, or does not map steps to settings.
    """
    if path is None:
        return {}
    page = read_page(Path(absolute(path) or path))
    return {
        str(step): {"": Setting(None, page.where(step)), **page.settings(plain, str(step))}
        for step, plain in page.plain.items()
    }


def _add_which(run: argparse.ArgumentParser) -> None:
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


def _add_how(run: argparse.ArgumentParser) -> None:
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
    how.add_argument(
        "--launcher", choices=LAUNCHERS, default="local",
        help="local: Lightning starts the processes; torchrun; slurm: submit a job for each step; "
        "srun: we are in a job already",
    )  # fmt: skip
    how.add_argument(
        "--cluster", metavar="NAME", default=DEFAULT,
        help="what the jobs of a cluster get: name in conf/cluster, or the path of a .yaml file",
    )  # fmt: skip
    how.add_argument(
        "--sbatch-args", metavar="OPTIONS", default="",
        help="further options for sbatch, e.g. '--partition=gpu --time=8:00:00'",
    )  # fmt: skip
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


Parse = Callable[..., tuple[argparse.Namespace, list[str]]]


def _splitting_at_dashes(parse: Parse) -> Parse:
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


def _run(args: argparse.Namespace) -> int:
    asked = _asked(args)
    _require_one_machine(args)
    default_dir = "runs/" + "-".join(word for word in (Path(asked.recipe).stem, asked.variant) if word)
    request = Request(
        asked=asked,
        run_dir=Path(args.run_dir or default_dir),
        stages=tuple(sorted(set(args.stage))),
        steps=tuple(args.step),
        from_step=args.from_step,
        rerun=tuple(args.rerun),
        extras=_extras(args),
        launcher=args.launcher,
        cluster=args.cluster,
        sbatch_args=tuple(_split(args.sbatch_args)),
        check=not args.no_check,
        dry_run=args.dry_run,
        reuse=tuple(Path(folder) for folder in args.reuse),
        allow_empty=args.allow_empty,
    )
    return run_recipe(request)


def _asked(args: argparse.Namespace) -> Settings:
    name, variant = split_label(args.recipe)
    if args.variant and variant and args.variant != variant:
        raise UserError(f"two variants are named: {variant} and {args.variant}; name one")
    return Settings(
        recipe=name,
        variant=args.variant or variant,
        data=args.data,
        data_root=args.data_root,
        tags=args.tags,
        budget=args.budget,
        backbone=args.backbone,
        weights=args.weights,
        seed=args.seed,
        rounds=args.rounds,
        val_labels=args.val_labels or None,
    )


def _extras(args: argparse.Namespace) -> Extras:
    of_file, typed = _settings_of(args.settings), args.overrides
    overrides = {step: {path: s.value for path, s in part.items() if path} for step, part in of_file.items()}
    for step, given in typed.items():
        overrides[step] = {**overrides.get(step, {}), **given}
    return Extras(
        devices=Devices(args.devices, args.nodes),
        logger=args.logger,
        overrides=overrides,
        origins={
            step: {path: s.origin for path, s in part.items() if path not in typed.get(step, {})}
            for step, part in of_file.items()
        },
        args=tuple(args.extra),
        precision=args.precision,
        flags=tuple(dict.fromkeys(args.flags or ())),
    )


def _require_one_machine(args: argparse.Namespace) -> None:
    if (args.nodes or 1) > 1 and args.launcher not in ("slurm", "srun"):
        raise UserError(
            f"--nodes {args.nodes} needs --launcher slurm or srun, which start processes on other machines; "
            "docs/cluster.md shows how to start a step on several machines by torchrun"
        )


def _split(options: str) -> list[str]:
    try:
        return shlex.split(options)
    except ValueError as error:
        raise UserError(f"cannot split the options {options!r}: {error}") from error
