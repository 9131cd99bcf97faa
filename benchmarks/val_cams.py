"""What each run's class activation maps reach on val, beside its final network: both on the same images.

    python -m benchmarks.val_cams runs/table/rrm-0 runs/table/rrm-1 --name val-cams-voc-animals

Recipes make and score maps of train. Here the classifier of each run (its last maps of stage 1) makes
those of val as well, among the tags of each image, which the final network does not know. They are kept
in one folder per classifier and settings, so that runs which share them, and later calls, predict once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.recipe_table import Row, cards_of, cell, label_of, recipe_of
from benchmarks.results_table import Card, keep
from tag2mask.artifacts import require_step, sha256_file
from tag2mask.core import UserError
from tag2mask.core.tables import Table
from tag2mask.evaluate import score_step
from tag2mask.pipeline.process import run_child

COLUMNS = {
    "cam": "CAM",
    "best": "CAM at its best threshold",
    "single": "network",
    "crf": "network with scales, flip, CRF",
}


@dataclass(frozen=True)
class Maps:
    """Where a run's class activation maps come from, and where those of val are kept.

    Attributes:
        source: folder of the step that made the maps of train.
        script: the script of that step.
        checkpoint: its network.
        folder: where the maps of val go; the same for the same network and settings.
    """

    source: Path
    script: str
    checkpoint: Path
    folder: Path


def maps_of(run: Path, card: Card, kept: Path) -> Maps:
    """The last maps of stage 1 of a run that is done.

    Raises:
        UserError: the run has no scored final network or no finished maps of stage 1.
    """
    if not (card["steps"].get("segmentation") or {}).get("variants"):
        raise UserError(f"{run} has no scored final network to compare with: run its recipe to the end first")
    steps = [s for s in recipe_of(run, card).steps if s.stage == 1 and s.kind == "maps"]
    if not steps:
        raise UserError(f"{run} has no class activation maps: {label_of(card)} makes none in stage 1")
    source = run / steps[-1].name
    manifest = require_step(source, ["maps"])
    checkpoint, settings = source / manifest.checkpoint, manifest.commands["predict"].config_hash
    key = f"{source.name}-{sha256_file(checkpoint)[:8]}-{settings[:8]}"
    return Maps(source, steps[-1].script, checkpoint, kept / key)


def predict(maps: Maps, split: str) -> None:
    """Run a step's own prediction on another split, into a folder of its own; goes on where it stopped.

    Raises:
        UserError: the step ended with an error, which it printed.
    """
    words = ["--config", str(maps.source / "predict.yaml"), "--ckpt_path", str(maps.checkpoint)]
    words += ["--data.init_args.predict_split", split, "--step-dir", str(maps.folder)]
    if run_child([sys.executable, "-m", "tag2mask", "step", maps.script, "predict", *words]):
        raise UserError(f"{split} was not predicted by the classifier of {maps.source}: see above")


def row_of(card: Card, cams: Mapping[str, Any]) -> Row:
    """The columns of one run in percent, from its scorecard and the score of its maps of val."""
    variants = card["steps"]["segmentation"]["variants"]
    crf = variants.get("multi_scale_crf")
    return {
        "cam": 100 * cams["miou"],
        "best": 100 * cams["best_miou"],
        "single": 100 * variants["single_scale"]["miou"],
        **({"crf": 100 * crf["miou"]} if crf else {}),
    }


def markdown(rows: Mapping[str, Sequence[Row]], command: str) -> str:
    """One line per recipe: mean, half the range, and seed by seed what the network has beyond the maps."""
    names = [*COLUMNS.values(), "network less CAM, seed by seed"]
    lines = []
    for label, runs in rows.items():
        gains = ", ".join(f"{r['single'] - r['cam']:+.1f}" for r in runs)
        lines.append([label, *(cell(runs, c) for c in COLUMNS), gains, str(len(runs))])
    table = Table(["recipe", *names, "seeds"], lines).markdown()
    about = "mIoU on val in percent. The maps know the tags of each image, the networks do not."
    return "\n".join([about, "", table, "", f"Printed by `{command}`.", ""])


def collect(runs: Sequence[Path], kept: Path) -> dict[str, list[Row]]:
    """Recipe (and variant) -> one row per run folder; every run is looked at before the first prediction.

    Raises:
        UserError: a run is not done, or val could not be predicted or scored.
    """
    cards = cards_of(runs)
    wanted = {run: maps_of(run, card, kept) for run, card in cards.items()}
    scores: dict[Path, dict[str, Any]] = {}
    for maps in wanted.values():
        if maps.folder not in scores:
            predict(maps, "val")
            scores[maps.folder] = score_step(maps.folder)
    rows: dict[str, list[Row]] = {}
    for run, card in cards.items():
        rows.setdefault(label_of(card), []).append(row_of(card, scores[wanted[run].folder]))
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and keep it under ``--out``."""
    parser = argparse.ArgumentParser(description="Class activation maps of val beside the final networks.")
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    parser.add_argument("--name", required=True, help="file name of the results")
    parser.add_argument("--maps", type=Path, default=Path("runs/val-cams"), help="where the maps are kept")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--command", default="make val-cams", help="the command named below the table")
    args = parser.parse_args(argv)
    try:
        rows = collect(args.runs, args.maps)
    except UserError as error:
        sys.exit(f"error: {error}")
    text = markdown(rows, args.command)
    keep(args.out, args.name, text, {"columns": COLUMNS, "rows": rows})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
