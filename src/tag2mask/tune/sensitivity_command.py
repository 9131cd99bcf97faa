"""The command ``tag2mask sensitivity``."""

from __future__ import annotations

import argparse
from pathlib import Path

from tag2mask.core.commands import add_command, add_run, at_least
from tag2mask.data.data_class import add_data_class

HELP = """Score the walk of a run with other backgrounds, powers and lengths: how much do they matter?

Nothing is trained: the maps and the AffinityNet that the run has kept walk again, and the labels before
any CRF are compared with the true masks. This is an analysis (figure 8 of the PSA paper). It looks at
masks, so do not choose settings by it: 'tag2mask tune' chooses without."""

EXAMPLES = """examples:
  tag2mask sensitivity runs/psa --alpha 1 2 4 8 16 24 32                     figure 8 b
  tag2mask sensitivity runs/psa --beta 2 4 8 16 --steps 16 64 256 1024       figure 8 a: each with each
  tag2mask sensitivity runs/small --level 0.2 0.3 0.4 --images 60"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``sensitivity`` to the commands of ``tag2mask``."""
    summary = "score the walk of a run with other settings (looks at masks)"
    parser = add_command(commands, "sensitivity", summary, HELP, EXAMPLES)
    add_run(parser)
    for name, kind, text in (
        ("alpha", _positive, "exponents of the background"),
        ("level", _share, "scores at which background and class tie, in place of alphas"),
        ("beta", _positive, "powers of the affinities"),
        ("steps", at_least(1), "lengths of the walk"),
    ):
        parser.add_argument(f"--{name}", type=kind, nargs="+", default=[], metavar="N", help=text)
    parser.add_argument(
        "--images",
        type=at_least(1),
        metavar="N",
        help="images to look at (default: all that have a mask)",
    )
    add_data_class(parser)
    parser.set_defaults(handler=run_sensitivity)


def run_sensitivity(args: argparse.Namespace) -> int:
    """Print the table, and keep it in the run's folder."""
    from tag2mask.artifacts import atomic_write_json
    from tag2mask.tune.chain import read_chain
    from tag2mask.tune.sensitivity import score_walks, walk_trials

    chain = read_chain(args.run)
    trials = walk_trials(chain, args.alpha, args.level, args.beta, args.steps)
    found = score_walks(chain, trials, args.images)
    path = Path(args.run) / "sensitivity.json"
    atomic_write_json(path, found.to_dict())
    print(found.table().text())
    print(f"numbers and settings: {path}")
    return 0


def _positive(text: str) -> float:
    if not 0 < _number(text) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return float(text)


def _share(text: str) -> float:
    if not 0 < _number(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number between 0 and 1")
    return float(text)


def _number(text: str) -> float:
    """The number in a text; not a number where there is none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
