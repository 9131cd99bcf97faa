"""The command line ``tag2mask``: finds the subcommand, imports only what it needs, and runs it."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from types import ModuleType
from typing import NamedTuple

from tag2mask import __version__

DESCRIPTION = "From image tags to pixel masks: weakly supervised semantic segmentation as a pipeline."
EXAMPLES = """examples:
  tag2mask run psa --data shapes --run-dir runs/demo --budget tiny
  tag2mask run psa --data voc --data-root /data/VOC2012 --run-dir runs/psa --dry-run
  tag2mask recipes show psa --budget small --step cam
  tag2mask predict images/ --checkpoint runs/psa --out predictions --overlay
  tag2mask score predictions/ /data/VOC2012/SegmentationClass --split val.txt
  tag2mask report runs/psa runs/other

'tag2mask COMMAND --help' explains one command."""

STEP_HELP = """usage: tag2mask step SCRIPT {fit,validate,test,predict} [Lightning options]

Start one step as a plain LightningCLI: every option of Lightning works, and everything after
SCRIPT is passed on as it is.

scripts:
  classifier      stage 1: a multi-label classifier, and its class activation maps
  affinity        stage 2: the affinity network, and the random walk
  pseudo_labels   stage 2: a chain of refinements from maps to label files
  segmentation    stage 3: the segmentation network

examples:
  tag2mask recipes show psa --step cam --data voc --yaml > cam.yaml
  tag2mask step classifier fit --config cam.yaml --step-dir runs/by_hand/cam --trainer.max_epochs 1
  tag2mask step classifier fit --help"""


class _Command(NamedTuple):
    module: str
    help: str | None  # None: works, but is not listed


COMMANDS: dict[str, _Command] = {
    "run": _Command("tag2mask.pipeline.command", "run a recipe, step by step"),
    "recipes": _Command("tag2mask.pipeline.show", "list the recipes, or show what one is set to"),
    "step": _Command("tag2mask.step", "start one step (a LightningCLI with all its options)"),
    "predict": _Command("tag2mask.predict.command", "segment new images with a trained model"),
    "export": _Command("tag2mask.export.command", "write a trained model as ONNX and other files"),
    "score": _Command("tag2mask.evaluate.command", "score a folder of label PNGs against true masks"),
    "score-step": _Command("tag2mask.evaluate.command", None),
    "import-classes": _Command("tag2mask.pipeline.own_classes", None),
    "try-backbone": _Command("tag2mask.weights.trial", None),
    "submit-voc": _Command("tag2mask.evaluate.submission", "write an archive for VOC's test server"),
    "report": _Command("tag2mask.report.command", "write runs up as one HTML page"),
    "tune": _Command("tag2mask.tune.command", "choose settings of pseudo-labels without masks"),
    "sensitivity": _Command(
        "tag2mask.tune.sensitivity_command", "score the walk of a run with other settings (looks at masks)"
    ),
    "wandb": _Command("tag2mask.report.wandb_command", "bring the scores of a run to Weights & Biases"),
    "data": _Command("tag2mask.data.command", "check, import, download or prepare a data set"),
    "weights": _Command("tag2mask.weights.command", "convert published weights"),
    "doctor": _Command("tag2mask.doctor", "print what works on this machine"),
    "completion": _Command("tag2mask.completion", "print the completion of a shell"),
    "bench": _Command("tag2mask.bench", "time operators and losses against plain references"),
}


_PASSED_ON = ("step", "bench")
"""Commands whose options other programs read."""

_RENAMED = {"stage": "step"}
"""Earlier name of a command -> its name."""

_GROUP = "tag2mask.commands"
"""Entry points of this group are commands of other packages: name, and module with ``add_parser``."""


def all_commands() -> dict[str, _Command]:
    """Our commands and those of other packages; ours go first where two have the same name."""
    others = {
        point.name: _Command(point.module, f"from {point.module}") for point in entry_points(group=_GROUP)
    }
    return {**others, **COMMANDS}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one ``tag2mask`` command.

    Args:
        argv: the arguments after the program name; None takes them from ``sys.argv``.

    Returns:
        the exit code: 0 done, 1 the command failed, 2 a mistake of the user's, 130 stopped by Ctrl-C,
        141 nobody reads the output any more.

    Raises:
        SystemExit: from argparse, for ``--help``, ``--version`` and unknown options.
    """
    try:
        return _written(_answer(_renamed(list(sys.argv[1:] if argv is None else argv))))
    except SystemExit as error:
        if isinstance(error.code, int):  # argparse's, such as after --help
            error.code = _written(error.code)
        raise


def _answer(args: list[str]) -> int:
    """The exit code of a command."""
    if not args or args[0].startswith("-"):
        return _without_command(args)
    # imported here, because core brings numpy: `tag2mask --help` has to answer at once
    from tag2mask.core.errors import UserError, unknown_name
    from tag2mask.core.threads import limit_threads

    limit_threads()
    _open_output()
    try:
        if args[0] not in all_commands():
            raise unknown_name("command", args[0], _listed(), "tag2mask --help explains them")
        if args[0] == "bench":
            return int(importlib.import_module("tag2mask.bench").run(args[1:]))
        return _step(args) if args[0] == "step" else _run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except OSError as error:
        return _disk_error(error)


def _written(code: int) -> int:
    """An exit code, once all that was printed is written: Python at its exit has words of its own."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        # what is left of the output goes nowhere: Python would complain once more at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code or _disk_error(error)
    return code


def _disk_error(error: OSError) -> int:
    """Say what the operating system refused; `tag2mask recipes | head` has seen enough, and needs no word."""
    from tag2mask.artifacts.trouble import named_trouble

    if isinstance(error, BrokenPipeError):
        return 141
    if error.errno is None:
        raise error
    print(f"error: {named_trouble(error)}", file=sys.stderr)
    return 2


def _open_output() -> None:
    """Let everything be printed: on terminals that are not in UTF-8, and where the output is closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _renamed(args: list[str]) -> list[str]:
    """The arguments with today's name of the command; batch files of earlier versions hold old ones."""
    if args[:1] and args[0] in _RENAMED:
        now = _RENAMED[args[0]]
        print(f"note: `tag2mask {args[0]}` is called `tag2mask {now}` now", file=sys.stderr)
        return [now, *args[1:]]
    return args


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``tag2mask``.

    Args:
        chosen: the command whose module is imported and adds its options; the others are only
            listed. None imports nothing.
    """
    parser = argparse.ArgumentParser(
        prog="tag2mask",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tag2mask {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    known = all_commands()
    module = known[chosen].module if chosen else ""
    imported = False
    for name, command in known.items():
        if command.module == module:
            if not imported:
                _import(module).add_parser(commands)
            imported = True
        elif command.help is not None:
            commands.add_parser(name, help=command.help, add_help=False)
    return parser


def whole_parser() -> argparse.ArgumentParser:
    """The parser with the options of every command, for completion; it imports the modules of all."""
    from tag2mask.artifacts.names import SCRIPTS

    parser = argparse.ArgumentParser(prog="tag2mask")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command")
    known = all_commands()
    for name in _PASSED_ON:
        passed_on = commands.add_parser(name, help=known[name].help)
        if name == "step":
            passed_on.add_argument("script", choices=SCRIPTS)
            passed_on.add_argument("subcommand", choices=("fit", "validate", "test", "predict"))
    for module in dict.fromkeys(c.module for name, c in known.items() if name not in _PASSED_ON):
        _import(module).add_parser(commands)
    for name in [name for name, command in known.items() if command.help is None]:
        commands.choices.pop(name)
    return parser


def _import(module: str) -> ModuleType:
    """The module of a command; one of another package that cannot be imported is the user's to mend."""
    try:
        return importlib.import_module(module)
    except Exception as error:
        if module.startswith("tag2mask."):
            raise
        from tag2mask.core.errors import UserError

        raise UserError(
            f"the command's module {module} cannot be imported: {type(error).__name__}: {error}; "
            "mend or uninstall its package"
        ) from error


def _without_command(args: list[str]) -> int:
    parser = build_parser()
    if not args:
        parser.print_help()
        return 2
    parser.parse_args(args)
    return 0


def _run(args: list[str]) -> int:
    from tag2mask.core.commands import parse

    options = parse(build_parser(args[0]), args)
    return int(options.handler(options) or 0)


def _listed() -> list[str]:
    return [name for name, command in all_commands().items() if command.help is not None]


def _step(args: list[str]) -> int:
    if len(args) < 2 or args[1] in ("-h", "--help"):
        print(STEP_HELP)
        return 0 if len(args) > 1 else 2
    return int(importlib.import_module("tag2mask.step").main(args[1], args[2:]) or 0)
