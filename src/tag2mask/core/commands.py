"""Commands of the command line, and the options that several of them have."""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Callable, Sequence
from typing import Any

from tag2mask.core.errors import UserError


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


def parse(parser: argparse.ArgumentParser, args: Sequence[str]) -> argparse.Namespace:
    """The options of a command line.

    Raises:
        UserError: an option that the command does not have, with the nearest ones that it has.
    """
    options, unknown = parser.parse_known_args(args)
    if not unknown:
        return options
    chosen = _deepest(parser, args)
    help_line = f"`{chosen.prog} --help` lists the options"
    strange = next((word for word in unknown if word.startswith("-")), None)
    if strange is None:
        raise UserError(f"unexpected {' '.join(map(repr, unknown))}: {help_line}")
    known = [text for action in chosen._actions for text in action.option_strings if text.startswith("--")]
    near = difflib.get_close_matches(strange.partition("=")[0], known, n=2)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    raise UserError(f"{chosen.prog} has no option {strange}; {meant}{help_line}")


def _deepest(parser: argparse.ArgumentParser, args: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of the innermost command that the arguments name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            name = next((word for word in args if word in action.choices), None)
            return parser if name is None else _deepest(action.choices[name], args)
    return parser


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


def distinct_folders(given: Sequence[str]) -> list[str]:
    """Folders as they were given, each once, however it is spelled.

    Example:
        >>> distinct_folders(["runs/a", "runs/b", "runs/a/"])
        ['runs/a', 'runs/b']
    """
    first: dict[str, str] = {}
    for folder in given:
        first.setdefault(os.path.realpath(folder), folder)
    return list(first.values())
