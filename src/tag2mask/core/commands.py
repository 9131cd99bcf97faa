"""Commands of the command line, and the options that several of them have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    text: str,
    examples: str,
    **more: Any,
) -> argparse.ArgumentParser:
    """Add a command whose help keeps the line breaks of its texts.

    Args:
        commands: what the command is added to.
        name: the word that the user types.
        summary: a few words for the list of commands.
        text: what the command does; stands above its options.
        examples: stands below its options.
        more: further arguments of `argparse.ArgumentParser`.

    Returns:
        the command's parser, for its options.
    """
    return commands.add_parser(
        name,
        help=summary,
        description=text,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **more,
    )


def at_least(least: int) -> Callable[[str], int]:
    """The ``type`` of an option that takes a whole number from `least` on."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
        return value

    return number


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Add a recipe and what its settings depend on: ``--budget``, ``--backbone`` and ``--rounds``."""
    parser.add_argument(
        "recipe",
        metavar="RECIPE[:VARIANT]",
        help="name of a recipe or path of its page, and of a variant of it",
    )
    parser.add_argument(
        "--budget", metavar="NAME", help="full (the paper's schedule, default), small, tiny, ..."
    )
    parser.add_argument("--backbone", metavar="NAME", help="network to build on, instead of the recipe's")
    parser.add_argument(
        "--rounds",
        type=at_least(1),
        metavar="N",
        help="rounds, in a recipe that repeats some of its steps",
    )


def add_data_set(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add ``--data``, ``--data-root`` and ``--tags``.

    Args:
        parser: the command's.
        default: the data set where none is named; None for none.
    """
    add_data(parser, default)
    parser.add_argument(
        "--data-root", metavar="DIR", help="folder of the data set (default: the configuration's)"
    )
    parser.add_argument(
        "--tags", metavar="FILE", help="CSV or cls_labels.npy of tags, instead of the data set's own"
    )


def add_data(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add ``--data`` alone; see `add_data_set`."""
    known = "data set: shapes, voc, table, ... or the path of a .yaml file"
    more = f" (default: {default})" if default else ""
    parser.add_argument("--data", default=default, metavar="NAME", help=known + more)


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the folder of a run, as a word without a dash."""
    parser.add_argument("run", metavar="RUN", help="folder of a run")


def add_data_class(parser: argparse.ArgumentParser) -> None:
    """Add ``--data-class`` to a command that reads the data set of a run, of whichever class that is."""
    parser.add_argument(
        "--data-class",
        metavar="PATH",
        help="class of your own data set, whose module may be imported although no package registered it",
    )
