"""One table over the seeds of a run and its upper bound, as Markdown and JSON.

    python benchmarks/results_table.py runs/animals-0 runs/animals-1 --bound runs/animals-true-0 \
        --name psa-voc-animals --out benchmarks/results

Reads nothing but the scorecards of the run folders. Values are percent, mean and spread (half the
range) over the seeds that are given.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tag2mask.artifacts import SCORECARD_NAME
from tag2mask.core.tables import Table

Card = Mapping[str, Any]
ROWS: list[tuple[str, Callable[[Card], Any]]] = [
    ("classifier, mAP (val)", lambda c: c["steps"]["cam"]["metrics"]["val/mAP"]),
    ("CAM, fixed threshold (train)", lambda c: c["steps"]["cam"]["miou"]),
    ("CAM, best threshold of a sweep (train)", lambda c: c["steps"]["cam"]["best_miou"]),
    ("after the walk (train)", lambda c: c["steps"]["walk"]["miou"]),
    ("pseudo-label (train)", lambda c: c["steps"]["pseudo_label"]["miou"]),
    ("pseudo-label, precision (train)", lambda c: c["steps"]["pseudo_label"]["precision"]),
    ("segmentation, single scale (val)", lambda c: _variant(c, "single_scale")),
    ("segmentation, multi-scale + flip (val)", lambda c: _variant(c, "multi_scale")),
    ("segmentation, multi-scale + flip + CRF (val)", lambda c: _variant(c, "multi_scale_crf")),
]
BOUND = "true masks, single scale (val): the upper bound"
RATIO = "segmentation / upper bound, single scale"


def _variant(card: Card, name: str) -> Any:
    return card["steps"]["segmentation"]["variants"][name]["miou"]


def read_card(run: Path) -> Card:
    """The scorecard of a run folder; exits with one message where it is missing or broken."""
    try:
        plain: Card = json.loads((run / SCORECARD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"error: no readable scorecard in {run} ({error}): run the recipe first")
    # Where the weights lay on the machine that made the run is nobody's business.
    initial = {step: Path(weights).name for step, weights in plain.get("initial_weights", {}).items()}
    return {**plain, "weights": Path(plain.get("weights") or "").name, "initial_weights": initial}


def collect(cards: Sequence[Card], bounds: Sequence[Card]) -> dict[str, list[float]]:
    """Row name -> one percentage per seed; rows that a card lacks are left out."""
    table = {}
    for name, read in ROWS:
        values = [_read(card, read) for card in cards]
        if all(v is not None for v in values):
            table[name] = [100 * v for v in values if v is not None]
    upper = [100 * _variant(card, "single_scale") for card in bounds]
    if upper:
        table[BOUND] = upper
        mean = sum(upper) / len(upper)
        table[RATIO] = [v / mean for v in table["segmentation, single scale (val)"]]
    return table


def _read(card: Card, read: Callable[[Card], Any]) -> float | None:
    try:
        return float(read(card))
    except (KeyError, TypeError):
        return None


def markdown(table: Mapping[str, Sequence[float]], cards: Sequence[Card], command: str) -> str:
    """The table, one row per measure, with the settings of the runs above it."""
    first = cards[0]
    seeds = ", ".join(str(c["seed"] if c["seed"] is not None else 0) for c in cards)
    minutes = [sum(c["seconds"].values()) / 60 for c in cards]
    about = (
        f"Recipe {first['recipe']}, data {first['data']}, backbone {first['backbone']}, "
        f"budget {first['budget']}, seeds {seeds}; {sum(minutes) / len(minutes):.0f} minutes a run. "
        "mIoU in percent over the data set's classes and background, one confusion matrix over the "
        "split, 255 ignored."
    )
    rows = []
    for name, values in table.items():
        digits = 3 if name == RATIO else 1
        mean, spread = sum(values) / len(values), (max(values) - min(values)) / 2
        each = ", ".join(f"{v:.{digits}f}" for v in values)
        shown = f"{spread:.{digits}f}" if len(values) > 1 else "one seed"
        rows.append([name, f"{mean:.{digits}f}", shown, each])
    lines = Table(["", "mean", "spread", "per seed"], rows).markdown()
    return "\n".join([about, "", lines, "", f"Printed by `{command}`.", ""])


def keep(out: Path, name: str, text: str, facts: Mapping[str, Any]) -> None:
    """Print a table, and write it with the numbers behind it as ``<name>.md`` and ``<name>.json``."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    (out / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(text)
    print(f"kept in {out / name}.md and .json")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and keep it under ``--out``."""
    parser = argparse.ArgumentParser(description="One table over the seeds of a run and its upper bound.")
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, one per seed")
    parser.add_argument("--bound", nargs="*", type=Path, default=[], help="runs of the supervised variant")
    parser.add_argument("--name", required=True, help="file name of the results")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--command", default="make results", help="the command named below the table")
    args = parser.parse_args(argv)
    cards, bounds = [read_card(r) for r in args.runs], [read_card(r) for r in args.bound]
    table = collect(cards, bounds)
    text = markdown(table, cards, args.command)
    keep(args.out, args.name, text, {"rows": table, "runs": cards, "bounds": bounds})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
