"""The commands ``tag2mask run`` and ``tag2mask recipes``."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tag2mask.core.commands import add_command
from tag2mask.core.errors import UserError
from tag2mask.pipeline.configs import budget_names, find_conf, recipe_folder, recipe_names
from tag2mask.pipeline.launchers import LAUNCHERS
from tag2mask.pipeline.plan import Extras
from tag2mask.pipeline.request import Request
from tag2mask.pipeline.runner import run_recipe
from tag2mask.pipeline.settings import Settings
from tag2mask.pipeline.spec import Recipe, load_recipe

_RUN_TEXT = """Run a recipe, or some of its steps. Every step is a process of its own that fills one
folder of the run. What is done is skipped, what was stopped goes on where it stopped, and what was
made with other settings or inputs is made again (the old folder is kept as STEP.previous).

The run folder remembers data set, budget, backbone, weights and seed: say them once."""

_RUN_EXAMPLES = """examples:
  tag2mask run psa --data shapes --run-dir runs/demo
  tag2mask run psa:no_crf --data voc --data-root /data/VOC2012 --run-dir runs/no_crf --dry-run
  tag2mask run ial --data voc --data-root /data/VOC2012 --run-dir runs/ial --reuse runs/psa
  tag2mask run psa --run-dir runs/psa --stage 3 -- --trainer.max_epochs 5
  tag2mask run psa --run-dir runs/psa --step-args cam "--model.init_args.optimization.lr 0.02"

'tag2mask recipes' lists the recipes, their steps and their variants."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``run`` and ``recipes`` to the command line."""
    run = add_command(
        subparsers,
        "run",
        "run a recipe, step by step",
        _RUN_TEXT,
        _RUN_EXAMPLES,
        usage="%(prog)s RECIPE[:VARIANT] --data NAME [options] [-- options for every chosen step]",
    )
    _add_what(run)
    _add_which(run)
    _add_how(run)
    run.set_defaults(handler=_run, extra=[])
    # argparse has no notion of "everything after -- is for somebody else"
    setattr(run, "parse_known_args", _splitting_at_dashes(run.parse_known_args))  # noqa: B010
    recipes = subparsers.add_parser(
        "recipes",
        help="list the recipes and their steps",
        description="List the recipes: their steps, variants, budgets, and the papers' own numbers.",
    )
    recipes.set_defaults(handler=_recipes)


def _add_what(run: argparse.ArgumentParser) -> None:
    run.add_argument("recipe", metavar="RECIPE[:VARIANT]", help="name of a recipe, and of a variant of it")
    run.add_argument("--variant", help="the same as RECIPE:VARIANT")
    run.add_argument(
        "--data", metavar="NAME", help="data set: shapes, voc, table, ... or the path of a .yaml file"
    )
    run.add_argument("--data-root", metavar="DIR", help="folder of the data set")
    run.add_argument("--tags", metavar="CSV", help="tags of the images, instead of the data set's own")
    run.add_argument("--run-dir", metavar="DIR", help="folder of the run (default: runs/RECIPE)")
    run.add_argument(
        "--budget", metavar="NAME", help="full (the paper's schedule, default), small, tiny, ..."
    )
    run.add_argument("--backbone", metavar="NAME", help="network to build on, instead of the recipe's")
    run.add_argument("--weights", metavar="W", help="its weights: imagenet, none, or the path of a file")
    run.add_argument("--seed", type=_count, metavar="N", help="seed of everything random")
    run.add_argument(
        "--rounds", type=_positive, metavar="N", help="rounds, in a recipe that repeats some of its steps"
    )


def _add_which(run: argparse.ArgumentParser) -> None:
    which = run.add_argument_group("which steps")
    which.add_argument(
        "--stage", type=int, nargs="+", action="extend", choices=(1, 2, 3), default=[], metavar="N",
        help="only the steps of stage 1, 2 or 3; the steps they read must be done",
    )  # fmt: skip
    which.add_argument(
        "--from",
        dest="from_step",
        metavar="STEP",
        help="begin with this step and leave earlier ones as they are",
    )
    which.add_argument(
        "--reuse", nargs="+", action="extend", default=[], metavar="RUN",
        help="earlier runs: copy a step from there if it was made with the same settings and inputs",
    )  # fmt: skip
    which.add_argument(
        "--step-args", nargs=2, action="append", default=[], metavar=("STEP", "OPTIONS"),
        help="options for one step, e.g. --step-args cam '--model.init_args.optimization.lr 0.02'",
    )  # fmt: skip


def _add_how(run: argparse.ArgumentParser) -> None:
    how = run.add_argument_group("how")
    how.add_argument("--devices", type=_positive, metavar="N", help="devices (GPUs) per step")
    how.add_argument("--logger", metavar="NAME", help="csv, tensorboard or wandb, instead of the recipe's")
    how.add_argument(
        "--launcher", choices=LAUNCHERS, default="local",
        help="local: Lightning starts the processes; torchrun; slurm: submit a batch job; "
        "srun: we are in a job already",
    )  # fmt: skip
    how.add_argument(
        "--sbatch-args", metavar="OPTIONS",
        help="options for sbatch, e.g. '--partition=gpu --time=8:00:00' (default: --gpus-per-node=DEVICES)",
    )  # fmt: skip
    how.add_argument("--no-check", action="store_true", help="leave out the check of the data set")
    how.add_argument("--dry-run", action="store_true", help="print the commands and start nothing")


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


Parse = Callable[..., tuple[argparse.Namespace, list[str]]]


def _splitting_at_dashes(parse: Parse) -> Parse:
    def split(args: Sequence[str], namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:
        words = list(args)
        at = words.index("--") if "--" in words else len(words)
        parsed, unknown = parse(_guarded(words[:at]), namespace)
        parsed.extra = words[at + 1 :]
        return parsed, unknown

    return split


def _guarded(words: list[str]) -> list[str]:
    """Values that are options themselves, with a space behind: argparse takes them for values then."""
    for option, offset in (("--step-args", 2), ("--sbatch-args", 1)):
        for at in [i + offset for i, word in enumerate(words) if word == option]:
            if at < len(words) and words[at].startswith("-"):
                words[at] += " "
    return words


def _run(args: argparse.Namespace) -> int:
    name, _, variant = args.recipe.partition(":")
    if args.variant and variant and args.variant != variant:
        raise UserError(f"two variants are named: {variant} and {args.variant}; name one")
    asked = Settings(
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
    )
    step_args: dict[str, list[str]] = {}
    for step, options in args.step_args:
        step_args.setdefault(step, []).extend(_split(options))
    sbatch = args.sbatch_args if args.sbatch_args is not None else f"--gpus-per-node={args.devices or 1}"
    default_dir = "runs/" + asked.label.replace(":", "-")
    request = Request(
        asked=asked,
        run_dir=Path(args.run_dir or default_dir),
        stages=tuple(sorted(set(args.stage))),
        from_step=args.from_step,
        extras=Extras(args.devices, args.logger, step_args, tuple(args.extra)),
        launcher=args.launcher,
        sbatch_args=tuple(_split(sbatch)),
        check=not args.no_check,
        dry_run=args.dry_run,
        reuse=tuple(Path(folder) for folder in args.reuse),
    )
    return run_recipe(request)


def _split(options: str) -> list[str]:
    try:
        return shlex.split(options)
    except ValueError as error:
        raise UserError(f"cannot split the options {options!r}: {error}") from error


def _recipes(args: argparse.Namespace) -> int:
    conf = find_conf()
    for name in recipe_names(conf):
        print(describe(load_recipe(recipe_folder(conf, name))) + "\n")
    return 0


def describe(recipe: Recipe) -> str:
    """A recipe in a few lines: steps, variants, budgets, paper."""
    targets = recipe.paper.get("targets") or {}
    lines = [f"{recipe.name}: {recipe.title}"]
    for step in recipe.steps:
        reads = f"  reads {', '.join(step.inputs.values())}" if step.inputs else ""
        paper = f"  paper: {targets[step.name]} mIoU" if step.name in targets else ""
        lines.append(f"  stage {step.stage}  {step.name:<16} {' + '.join(step.commands):<14}{reads}{paper}")
    lines += _variant_lines(recipe)
    budgets = budget_names(recipe.folder, [s.config_name for s in recipe.steps])
    lines.append(f"  budgets: {', '.join(budgets)}")
    if citation := recipe.paper.get("citation"):
        lines.append(f"  {' '.join(str(citation).split())}")
    return "\n".join(lines)


def _variant_lines(recipe: Recipe) -> list[str]:
    width = max((len(name) for name in recipe.variants), default=0)
    lines = []
    for name, variant in recipe.variants.items():
        numbers = ", ".join(f"{step} {miou}" for step, miou in variant.targets.items())
        paper = f"  paper: {numbers} mIoU" if numbers else ""
        lines.append(f"  {recipe.name}:{name:<{width}}  {variant.title}{paper}")
    return lines
