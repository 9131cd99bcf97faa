"""The command ``tag2mask run``."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from tag2mask.core.commands import add_command
from tag2mask.core.errors import UserError
from tag2mask.core.layers import Layer, Setting
from tag2mask.core.pages import read_page
from tag2mask.core.recipe_names import split_label
from tag2mask.pipeline.devices import Devices
from tag2mask.pipeline.extras import Extras
from tag2mask.pipeline.request import Request
from tag2mask.pipeline.run_options import add_how, add_what, add_which, splitting_at_dashes
from tag2mask.pipeline.runner import run_recipe
from tag2mask.pipeline.settings import Settings, absolute

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
    add_what(run)
    add_which(run)
    add_how(run)
    run.set_defaults(handler=_run, extra=[], overrides={})
    # argparse has no notion of "everything after -- is for somebody else"
    setattr(run, "parse_known_args", splitting_at_dashes(run.parse_known_args))  # noqa: B010


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
