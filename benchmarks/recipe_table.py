"""One table over recipes: the mean over seeds of what every recipe reached, and each of its steps.

    python benchmarks/recipe_table.py runs/table/psa-0 runs/table/rrm-0 --name recipes-voc-animals

Reads scorecards and manifests of run folders. Runs of one recipe and variant make one row.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.results_table import Card, keep, read_card
from tag2mask.artifacts import read_manifest
from tag2mask.core.recipe_names import join_label
from tag2mask.core.tables import Table
from tag2mask.pipeline import Recipe, Settings, open_library, recipe_of
from tag2mask.pipeline.settings import read_run

Row = dict[str, float]
COLUMNS = {
    "cam": "CAM",
    "refined": "refined",
    "label": "pseudo-label",
    "precision": "precision",
    "coverage": "coverage",
    "segmentation": "segmentation (val)",
    "minutes": "minutes",
    "memory": "peak MB",
}

STEP = "step "  # before a step's name: its own mIoU


def row_of(run: Path, card: Card) -> Row:
    """The columns of one run, and the score of each step; what a recipe has no step for is left out."""
    row: Row = {}
    for step in _recipe_of(run, card).steps:
        score = card["steps"].get(step.name) or {}
        if score.get("miou") is None:
            continue
        row |= {STEP + step.name + suffix: 100 * value for suffix, value in _parts(score).items()}
        if step.copy_of:  # of val: among the steps, not in the columns
            continue
        if step.kind == "maps":
            row["cam" if step.stage == 1 else "refined"] = 100 * score["miou"]
        elif step.kind == "labels":
            row |= {"label": 100 * score["miou"], "precision": 100 * score["precision"]}
            row["coverage"] = 100 * score["coverage"]
        elif step.name == "segmentation":
            row["segmentation"] = 100 * score["variants"]["single_scale"]["miou"]
    return row | _cost(run, card)


def _recipe_of(run: Path, card: Card) -> Recipe:
    """The recipe of a run, with the variant, rounds and budget that it was run with."""
    settings = read_run(run) or Settings(card["recipe"], budget="full")
    return recipe_of(open_library(), replace(settings, recipe=card["recipe"], variant=card["variant"] or ""))


def label_of(card: Card) -> str:
    """What a recipe and its variant are called on the command line."""
    return join_label(card["recipe"], card["variant"])


def _parts(score: Mapping[str, Any]) -> dict[str, float]:
    """A step's mIoU, and what belongs beside it, by what follows the step's name."""
    best, coverage = score.get("best_miou"), score.get("coverage")
    crf = (score.get("variants") or {}).get("multi_scale_crf")
    return {
        "": score["miou"],
        **({" at its best threshold": best} if best is not None else {}),
        **({" coverage": coverage} if coverage is not None and coverage < 1 else {}),
        **({" with scales, flip and CRF": crf["miou"]} if crf else {}),
    }


def _cost(run: Path, card: Card) -> Row:
    peaks = [_peak_mb(run / name) for name in card["seconds"]]
    return {"minutes": sum(card["seconds"].values()) / 60, "memory": max(peaks, default=0.0)}


def _peak_mb(step: Path) -> float:
    commands = read_manifest(step).commands.values()
    return max((c.peak_memory_mb or 0.0 for c in commands), default=0.0)


def about(card: Card) -> str:
    """What the runs of a table have in common."""
    return f"Data {card['data']}, backbone {card['backbone']}, budget {card['budget']}; mIoU in percent."


def markdown(rows: Mapping[str, Sequence[Row]], command: str, head: str) -> str:
    """One line per recipe: mean, and half the range behind +- where there are several seeds."""
    lines = [[label, *(cell(runs, c) for c in COLUMNS), str(len(runs))] for label, runs in rows.items()]
    table = Table(["recipe", *COLUMNS.values(), "seeds"], lines).markdown()
    return "\n".join([head, "", table, "", *_steps(rows), "", f"Printed by `{command}`.", ""])


def _steps(rows: Mapping[str, Sequence[Row]]) -> list[str]:
    lines = [
        "Step by step, in percent (mIoU but for coverage): segmentation networks on val, single scale unless "
        "another test is named; all else on train, maps at the fixed threshold unless another is named."
    ]
    for label, runs in rows.items():
        names = dict.fromkeys(key for row in runs for key in row if key.startswith(STEP))
        each = [f"{name.removeprefix(STEP)} {cell(runs, name)}" for name in names]
        lines += ["", f"- {label}: {', '.join(each)}"]
    return lines


def cell(runs: Sequence[Row], column: str) -> str:
    """Mean and half the range, with the number of runs where not all of the row have a value."""
    values = [row[column] for row in runs if column in row]
    if not values:
        return ""
    digits = 0 if column in ("minutes", "memory") else 1
    spread = f" ± {(max(values) - min(values)) / 2:.{digits}f}" if len(values) > 1 else ""
    count = f" ({len(values)} of {len(runs)})" if len(values) < len(runs) else ""
    return f"{sum(values) / len(values):.{digits}f}{spread}{count}"


def collect(runs: Iterable[Path]) -> dict[str, list[Row]]:
    """Recipe (and variant) -> one row per run folder; exits where data, budget or backbone differ."""
    rows: dict[str, list[Row]] = {}
    first: Card | None = None
    for run in runs:
        card = read_card(run)
        first = first or card
        for key in ("data", "budget", "backbone"):
            if card[key] != first[key]:
                sys.exit(f"error: {run} has {key} {card[key]}, others have {first[key]}: one table needs one")
        rows.setdefault(label_of(card), []).append(row_of(run, card))
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and keep it under ``--out``."""
    parser = argparse.ArgumentParser(description="One table over the runs of several recipes.")
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--name", required=True, help="file name of the results")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--command", default="make table", help="the command named below the table")
    args = parser.parse_args(argv)
    rows = collect(args.runs)
    text = markdown(rows, args.command, about(read_card(args.runs[0])))
    keep(args.out, args.name, text, {"columns": COLUMNS, "rows": rows})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
