"""Commands of the command line."""

from __future__ import annotations

import argparse
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


def add_data_class(parser: argparse.ArgumentParser) -> None:
    """Add ``--data-class`` to a command that reads the data set of a run, of whichever class that is."""
    parser.add_argument(
        "--data-class",
        metavar="PATH",
        help="class of your own data set, whose module may be imported although no package registered it",
    )
