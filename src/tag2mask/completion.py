"""``tag2mask completion``: what a shell completes, made from the options of all commands."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import shtab

from tag2mask.cli import whole_parser
from tag2mask.core.commands import add_command
from tag2mask.core.library import FULL, open_library

HELP = """Print the completion of a shell: commands, options, recipes, data sets, budgets, backbones, files.

Recipes and data sets are those of today: after adding one, print it again."""

EXAMPLES = """examples:
  tag2mask completion bash > ~/.local/share/bash-completion/completions/tag2mask
  tag2mask completion zsh > ~/.zfunc/_tag2mask      # with fpath+=~/.zfunc before compinit in ~/.zshrc
  tag2mask completion tcsh > ~/.tag2mask.csh        # and: source ~/.tag2mask.csh"""

_PARTS = {
    "recipe": "recipes", "data": "data", "budget": "budgets", "backbone": "backbones", "logger": "logger",
}  # fmt: skip
"""Argument -> the part of the configurations whose names it takes."""
_FOLDERS = ("DIR", "RUN", "STEP_DIR", "PRED_DIR", "GT_DIR")
_FILES = ("FILE", "CSV", "PATH", "SOURCE", "IMAGES", "W")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``completion`` to the commands of ``tag2mask``."""
    completion = add_command(commands, "completion", "print the completion of a shell", HELP, EXAMPLES)
    completion.add_argument("shell", choices=shtab.SUPPORTED_SHELLS, help="which shell")
    completion.set_defaults(handler=lambda args: print(shell_script(args.shell)))


def shell_script(shell: str) -> str:
    """The completion of a shell, as a script that it reads.

    Args:
        shell: bash, zsh or tcsh.

    Raises:
        UserError: there are no configurations.
    """
    parser = whole_parser()
    library = open_library()
    names = {part: library.names(part) for part in _PARTS.values()}
    names["budgets"] = [FULL, *(name for name in names["budgets"] if name != FULL)]
    for action in _actions(parser):
        shown = action.metavar if isinstance(action.metavar, str) else ""
        if action.dest in _PARTS and not action.choices:
            action.choices = names[_PARTS[action.dest]]
        elif shown in _FOLDERS:
            setattr(action, "complete", shtab.DIRECTORY)  # noqa: B010
        elif shown in _FILES or action.type is Path:
            setattr(action, "complete", shtab.FILE)  # noqa: B010
    script: str = shtab.complete(parser, shell)
    return script


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        choices: object = action.choices
        for inner in choices.values() if isinstance(choices, dict) else ():
            if isinstance(inner, argparse.ArgumentParser):
                yield from _actions(inner)
