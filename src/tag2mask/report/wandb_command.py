"""The command ``tag2mask wandb``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tag2mask.core.commands import add_command, add_run, at_least
from tag2mask.core.errors import UserError
from tag2mask.data.data_class import add_data_class

HELP = """Bring the scores of a run to Weights & Biases: one wandb run for each step, grouped by run folder,
with its settings, scores, IoU per class, pictures with masks, time, and an artifact that names its inputs.

A step that was trained with --logger wandb goes on in its own wandb run; any other run works too. Without an
account everything is written offline, and `wandb sync RUN/*/wandb/offline-run-*` uploads it later."""

EXAMPLES = """examples:
  tag2mask run psa --data shapes --budget demo --logger wandb      ends with it
  tag2mask wandb runs/psa --project animals
  tag2mask wandb runs/psa --one-run                                one wandb run for all steps, for sweeps"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``wandb`` to the commands of ``tag2mask``."""
    wandb = add_command(commands, "wandb", "bring the scores of a run to Weights & Biases", HELP, EXAMPLES)
    add_run(wandb)
    wandb.add_argument("--project", metavar="NAME", help="wandb project (default: tag2mask)")
    wandb.add_argument("--offline", action="store_true", default=None, help="write files only")
    wandb.add_argument(
        "--images", type=at_least(0), default=8, metavar="N", help="pictures a step (default: 8)"
    )
    wandb.add_argument("--one-run", action="store_true", help="one wandb run with the scores of all steps")
    wandb.add_argument(
        "--config", metavar="FILE", help="logger configuration to take project and options from"
    )
    add_data_class(wandb)
    wandb.set_defaults(handler=run_wandb)


def run_wandb(args: argparse.Namespace) -> int:
    """Log a run, and say where it went."""
    from tag2mask.artifacts import wandb_files_in, wandb_mode
    from tag2mask.report import read_runs
    from tag2mask.report.tracking import Tracker, log_run, log_trial

    options = _options(args.config) if args.config else {}
    asked = {"project": args.project, "offline": args.offline}
    options |= {name: value for name, value in asked.items() if value is not None}
    known = {name: options.pop(name) for name in ("project", "offline") if name in options}
    tracker = Tracker(images=args.images, more=options, **known)
    if wandb_mode(tracker.offline) == "disabled":
        print("wandb: nothing is written, since WANDB_MODE is disabled")
        return 0
    (run,) = read_runs([args.run])
    with wandb_files_in(run.folder / "wandb"):
        if args.one_run:
            log_trial(run, tracker)
        else:
            for note in log_run(run, tracker):
                print(f"note: {note}")
    if wandb_mode(tracker.offline) == "offline":
        folders = args.run if args.one_run else f"{args.run}/*"
        print(f"wandb: written offline; upload with: wandb sync {folders}/wandb/offline-run-*")
    return 0


def _options(path: str) -> dict[str, Any]:
    """What a logger configuration gives `WandbRun`."""
    from tag2mask.artifacts import refuse_secrets
    from tag2mask.core.pages import read_page

    plain = read_page(Path(path)).plain
    logger = (plain.get("trainer") or {}).get("logger") or {}
    options = logger.get("init_args") if isinstance(logger, dict) else None
    if not isinstance(options, dict):
        raise UserError(f"{path} names no logger with init_args: give conf/logger/wandb.yaml, or one like it")
    refuse_secrets(options)
    return dict(options)
