"""``tag2mask try-backbone``, which the runner starts: can these backbones be built with these weights?"""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from typing import Any

from tag2mask.core import UserError
from tag2mask.core.weight_files import NO_FILE
from tag2mask.pipeline.own_weights import COMMAND


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``try-backbone``."""
    parser = commands.add_parser(COMMAND)
    parser.add_argument("trials", nargs="+", metavar="JSON", type=json.loads)
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Build each backbone as its step will.

    Raises:
        UserError: there is no such backbone, or its weights do not fit; with the step and the origin.
    """
    for trial in args.trials:
        weights, origins = trial["backbone"].get("weights"), trial["origins"]
        is_file = weights not in NO_FILE
        try:
            _build(trial["backbone"], trial["head"], is_file)
        except UserError as error:
            name = trial["backbone"].get("name", "")
            told = f"{origins.get('weights' if is_file else 'name', trial['step'])}: {error}"
            raise UserError(
                f"{told} (step {trial['step']} builds on {name}, which {origins['name']} names)"
                if is_file and "name" in origins
                else f"{told} (in step {trial['step']})"
            ) from error
    return 0


def _build(backbone: dict[str, Any], head: str, is_file: bool) -> None:
    from tag2mask.backbones import BackboneSpec

    known = {field.name for field in fields(BackboneSpec)}
    # weights of no file are not tried: they would be downloaded, which belongs to the step
    given = {k: v for k, v in backbone.items() if k in known}
    spec = BackboneSpec(**given | ({} if is_file else {"weights": "none"}))
    if head.startswith("smp:"):
        from tag2mask.heads.smp_segmenter import SmpSegmenter

        SmpSegmenter(head.removeprefix("smp:"), spec.name, spec.weights)
    else:
        spec.build()
