"""The command ``tag2mask tune``."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from tag2mask.core.commands import add_command, add_run, at_least, distinct_folders
from tag2mask.core.errors import UserError
from tag2mask.core.recipe_names import join_label
from tag2mask.data.data_class import add_data_class

if TYPE_CHECKING:
    from tag2mask.tune.compare import Comparison

TUNE_HELP = """Choose background level, power of the walk and CRF of a run's pseudo-labels without masks.

Some images are labelled again with other settings, from the maps that the run has kept. The run's own stay
unless another is better by more than the noise; more images leave less of it. What decides:
  classifier    it finds the tag inside its label, no longer outside, and the label needs little area
  edges         the image's edges are stronger along the labels' outlines than elsewhere
and what is only shown:
  views         labels from one image size agree with those from all sizes
  walk and CRF  labels before the CRF agree with those after it
  foreground    share of the pixels that have a class
With --schedules, labels of runs that were trained otherwise are compared in place of settings.
It sees levels that are too high, and hardly those that are too low: look at the pictures (docs/tuning.md)."""

TUNE_EXAMPLES = """examples:
  tag2mask tune runs/mine                         writes runs/mine/tune/settings.yaml and tune.html
  tag2mask tune runs/mine --images 60
  tag2mask run psa --run-dir runs/mine --settings runs/mine/tune/settings.yaml
  tag2mask tune runs/mine --schedules runs/longer runs/shorter"""


_FEW = 10
"""Images below which the standard error of a gain is itself a guess (of 9 differences it is 25 % off)."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``tune`` to the commands of ``tag2mask``."""
    tune = add_command(
        commands, "tune", "choose settings of pseudo-labels without masks", TUNE_HELP, TUNE_EXAMPLES
    )
    add_run(tune)
    tune.add_argument(
        "--images", type=at_least(1), default=40, metavar="N", help="images to look at (default: 40)"
    )
    tune.add_argument(
        "--schedules",
        nargs="+",
        default=[],
        metavar="RUN",
        help="runs on the same images that were trained otherwise: which labels are better, theirs or RUN's?",
    )
    add_data_class(tune)
    tune.set_defaults(handler=run_tune)


def run_tune(args: argparse.Namespace) -> int:
    """Compare, print the table, write page and settings.

    Raises:
        UserError: the run cannot be tuned, or its folder not be written to, which is found first.
    """
    out = Path(args.run) / "tune"
    return _compare_runs(args, out) if args.schedules else _compare_settings(args, out)


def _compare_settings(args: argparse.Namespace, out: Path) -> int:
    from tag2mask.artifacts import atomic_write_text
    from tag2mask.pipeline.plan import yaml_text
    from tag2mask.tune.chain import read_chain
    from tag2mask.tune.compare import tune
    from tag2mask.tune.page import Pictures, build_page

    chain, pictures = read_chain(args.run), Pictures()
    _require_writable(args, out)
    found = tune(chain, args.images, pictures.keep)
    words = ["tag2mask", "run", _recipe(args.run), "--run-dir", args.run]
    words += ["--settings", str(out / "settings.yaml")]
    atomic_write_text(out / "settings.yaml", yaml_text(found.trials[found.chosen].settings()))
    page = build_page(chain, found, pictures, shlex.join(words))
    return _tell(args, found, out / "tune.html", page, shlex.join(words))


def _compare_runs(args: argparse.Namespace, out: Path) -> int:
    from tag2mask.tune.chain import read_chain
    from tag2mask.tune.page import Pictures, build_page
    from tag2mask.tune.schedules import compare_runs

    runs = distinct_folders([args.run, *args.schedules])
    if len(runs) == 1:
        raise UserError(
            f"--schedules {args.schedules[0]} is the run itself: give another one on the same images"
        )
    chains = {run: read_chain(run) for run in runs}
    _require_writable(args, out)
    pictures = Pictures()
    found = compare_runs(chains, args.images, pictures.keep)
    words = shlex.join(["tag2mask", "tune", found.trials[found.chosen].name])
    page = build_page(chains[args.run], found, pictures, words, "schedules")
    return _tell(args, found, out / "schedules.html", page, words)


def _require_writable(args: argparse.Namespace, out: Path) -> None:
    """Find out before the work, not after it, that a run is read-only or the disk full."""
    from tag2mask.artifacts import require_writable

    way = f"tag2mask run {_recipe(args.run)} --run-dir MINE --reuse {shlex.quote(args.run)} copies the run"
    require_writable(out, f"; {way}")


def _tell(args: argparse.Namespace, found: Comparison, path: Path, page: str, command: str) -> int:
    """Write the page and the numbers beside it, and print what was found."""
    from tag2mask.artifacts import atomic_write_json, atomic_write_text
    from tag2mask.tune.page import signal_table

    atomic_write_json(path.with_suffix(".json"), found.to_dict())
    atomic_write_text(path, page)
    print(signal_table(found, "schedules" if args.schedules else "settings").text())
    if not found.tells:
        print(
            "no choice: the signals are the same for every setting, so labels are empty or full throughout. "
            f"Look at the maps (tag2mask report {shlex.quote(args.run)}), and give the classifier more images"
        )
        return 0
    if len(found.images) < _FEW:
        print(
            f"chosen by {len(found.images)} image(s) only, which hardly tell better from chance: look at more"
        )
    print(f"chosen: {found.trials[found.chosen].name}; pictures: {path}")
    print(f"next: {command}")
    return 0


def _recipe(run: str) -> str:
    """The recipe of a run, with its variant, as ``tag2mask run`` takes it."""
    from tag2mask.artifacts import RUN_NAME, read_json

    settings = read_json(Path(run) / RUN_NAME) or {}
    return join_label(settings.get("recipe") or "RECIPE", settings.get("variant"))
