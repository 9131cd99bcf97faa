"""What each run's class activation maps reach on val, beside its final network: both on the same photos.

    python -m benchmarks.val_cams runs/table/rrm-0 runs/table/rrm-1 --name val-cams-voc-animals

Recipes make and score maps of train. Here the classifier of each run (its last maps of stage 1) makes
those of val as well, among the tags of each photo, which the final network does not know. They are kept
in one folder per classifier, so that runs which share one, and later calls, predict once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.recipe_table import Row, cell, label_of, recipe_of
from benchmarks.results_table import Card, keep, read_card
from tag2mask.artifacts import require_step, sha256_file
from tag2mask.core import UserError
from tag2mask.evaluate.step import score_step
from tag2mask.pipeline import Step
from tag2mask.pipeline.process import run_child

COLUMNS = {
    "cam": "CAM",
    "best": "CAM at its best threshold",
    "single": "network",
    "crf": "network with scales, flip, CRF",
}


def row_of(run: Path, card: Card, maps: Path) -> Row:
    """The columns of one run in percent; predicts val where that was not done before.

    Raises:
        UserError: the run has no final network or no maps of stage 1, or val could not be predicted.
    """
    if not (final := card["steps"].get("segmentation")):
        raise UserError(f"{run} has no final network to compare with: run its recipe to the end first")
    step = [s for s in recipe_of(run, card).steps if s.stage == 1 and s.kind == "maps"][-1]
    checkpoint = run / step.name / require_step(run / step.name, ["maps"]).checkpoint
    folder = maps / f"{step.name}-{sha256_file(checkpoint)[:12]}"
    predict_val(run / step.name, step, checkpoint, folder)
    cams, variants = score_step(folder), final["variants"]
    crf = variants.get("multi_scale_crf")
    return {
        "cam": 100 * cams["miou"],
        "best": 100 * cams["best_miou"],
        "single": 100 * variants["single_scale"]["miou"],
        **({"crf": 100 * crf["miou"]} if crf else {}),
    }


def predict_val(step_dir: Path, step: Step, checkpoint: Path, folder: Path) -> None:
    """Run a step's own prediction on val into another folder.

    Raises:
        UserError: the stage ended with an error, which it printed.
    """
    words = ["--config", str(step_dir / "predict.yaml"), "--ckpt_path", str(checkpoint)]
    words += ["--data.init_args.predict_split", "val", "--step_dir", str(folder)]
    if run_child([sys.executable, "-m", "tag2mask", "stage", step.script, "predict", *words]):
        raise UserError(f"val was not predicted by the classifier of {step_dir}: see above")


def markdown(rows: Mapping[str, Sequence[Row]], command: str) -> str:
    """One line per recipe: mean, half the range, and seed by seed what the network has beyond the maps."""
    names = [*COLUMNS.values(), "network less CAM, seed by seed"]
    lines = [
        "mIoU on val in percent. The maps know the tags of each photo, the networks do not.",
        "",
        "| recipe | " + " | ".join(names) + " | seeds |",
        "|---" * (len(names) + 2) + "|",
    ]
    for label, runs in rows.items():
        gains = ", ".join(f"{r['single'] - r['cam']:+.1f}" for r in runs)
        cells = [*(cell(runs, c) for c in COLUMNS), gains]
        lines.append(f"| {label} | " + " | ".join(cells) + f" | {len(runs)} |")
    return "\n".join([*lines, "", f"Printed by `{command}`.", ""])


def collect(runs: Sequence[Path], maps: Path) -> dict[str, list[Row]]:
    """Recipe (and variant) -> one row per run folder."""
    rows: dict[str, list[Row]] = {}
    for run in runs:
        card = read_card(run)
        rows.setdefault(label_of(card), []).append(row_of(run, card, maps))
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
