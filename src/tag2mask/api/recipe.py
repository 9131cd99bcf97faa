"""Recipes started from Python."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tag2mask.artifacts import SCORECARD_NAME, read_json
from tag2mask.core import UserError, unknown_name
from tag2mask.pipeline.command import add_parser


@dataclass(frozen=True)
class FinishedRun:
    """A run folder; `tag2mask.load` takes it.

    Attributes:
        folder: the folder of the run, with one folder per step.
        scorecard: the scores of every step, as in ``scorecard.json``; shares in [0, 1].
    """

    folder: Path
    scorecard: dict[str, Any]

    def __fspath__(self) -> str:
        """The folder, so that the run can stand wherever a path can."""
        return str(self.folder)


def run(
    recipe: str,
    run_dir: str | Path,
    *,
    settings: Mapping[str, Any] | str | Path | None = None,
    args: Sequence[str] = (),
    **options: Any,
) -> FinishedRun:
    """Run a recipe, as ``tag2mask run`` does: one process per step, and nothing twice.

    The same call goes on with a run that was stopped. What the steps print goes to standard output.

    Args:
        recipe: name of a recipe, or ``RECIPE:VARIANT``.
        run_dir: folder of the run.
        settings: settings of single steps, e.g. ``{"cam.model.init_args.optimization.lr": 0.02}``, or a
            file of them, e.g. the ``settings.yaml`` of ``tag2mask tune``.
        args: Lightning's options for every step, e.g. ``["--trainer.max_epochs", "1"]``.
        options: the command's other options with underscores, e.g. ``data="voc"``,
            ``data_root="/data/VOC2012"``, ``budget="small"``, ``stage=[1, 2]``, ``dry_run=True``.
            ``from_`` stands for ``--from``.

    Returns:
        the run folder and its scorecard.

    Raises:
        UserError: an option is unknown or cannot work; nothing was started then.
        RuntimeError: a step failed. What it printed says why.

    Example:
        >>> done = tag2mask.run("psa", "runs/demo", data="shapes", budget="tiny")  # doctest: +SKIP
        >>> done.scorecard["steps"]["segmentation"]["miou"]  # doctest: +SKIP
        0.53
    """
    parser = _run_parser()
    words = [recipe, "--run-dir", str(run_dir), *_option_words(parser, options)]
    parsed = parser.parse_args([*words, *_setting_words(settings or {}), "--", *args])
    code = int(parsed.handler(parsed) or 0)
    if code:
        raise RuntimeError(f"the run in {run_dir} has failed with exit code {code}: its output says why")
    folder = Path(run_dir)
    return FinishedRun(folder, read_json(folder / SCORECARD_NAME) or {})


def _run_parser() -> argparse.ArgumentParser:
    commands = argparse.ArgumentParser(prog="tag2mask").add_subparsers()
    add_parser(commands)
    parser: argparse.ArgumentParser = commands.choices["run"]
    # A function does not end the process for a wrong argument, as a command does.
    setattr(parser, "error", _refuse)  # noqa: B010
    return parser


def _refuse(message: str) -> NoReturn:
    raise UserError(message)


def _setting_words(settings: Mapping[str, Any] | str | Path) -> list[str]:
    if not isinstance(settings, Mapping):
        return ["--settings", str(settings)]
    pairs = ((f"--{k}", v if isinstance(v, str) else json.dumps(v)) for k, v in settings.items())
    return [word for pair in pairs for word in pair]


def _option_words(parser: argparse.ArgumentParser, options: Mapping[str, Any]) -> Iterator[str]:
    known = {option for action in parser._actions for option in action.option_strings}
    for name, value in options.items():
        option = f"--{name.rstrip('_').replace('_', '-')}"
        if option not in known:
            names = [o.removeprefix("--").replace("-", "_") for o in known if o.startswith("--")]
            raise unknown_name("option", name, names)
        if value is None or value is False:
            continue
        yield option
        if value is not True:
            yield from map(str, value if isinstance(value, list | tuple) else [value])
