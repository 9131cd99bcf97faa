"""`python -m benchmarks.gpu.small_run`: psa in the small budget on real images, and its upper bound."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu import overrides
from benchmarks.gpu.record import append
from benchmarks.gpu.throughput import one_size
from tag2mask.artifacts import VARIANTS

SUPERVISED = ("cam", "segmentation")
"""Steps of the supervised variant."""
_POLL = 0.5  # seconds between looks at a run


def main() -> int:
    """Run psa and, as soon as it has its classifier, the supervised variant beside it; 1 where one failed."""
    options = _parser().parse_args()
    root = one_size(options.data, options.work / "slice", 9) if options.quick else options.data
    first = _Run(options, root, "psa", ())
    while first.going() and "cam" not in first.told:
        time.sleep(_POLL)
    runs = [first, _Run(options, root, "psa:supervised", ("--reuse", str(first.folder)))]
    waiting = runs
    while waiting:
        waiting = [run for run in waiting if run.going()]
        time.sleep(_POLL)
    return int(any(run.child.returncode for run in runs))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.small_run", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="voc-animals, in VOC's layout")
    parser.add_argument("--weights", type=Path, required=True, help="MobileNetV2's ImageNet weights")
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--rows", type=Path, required=True, help="file of JSON lines for the results")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="the tiny budget on a few images")
    return parser


class _Run:
    """A `tag2mask run` in the background whose finished steps are told once each."""

    def __init__(self, options: argparse.Namespace, root: Path, recipe: str, more: tuple[str, ...]) -> None:
        self.recipe = recipe
        self.folder = options.work / recipe.replace(":", "-")
        self.rows = options.rows
        self.told: set[str] = set()
        words = [sys.executable, "-m", "tag2mask", "run", recipe, "--run-dir", str(self.folder), *more]
        log = (options.work / f"{self.folder.name}.log").open("w", encoding="utf-8")
        words += [*_settings(options, root), *self._step_options(options)]
        self.child = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)

    def _step_options(self, options: argparse.Namespace) -> list[str]:
        # What both runs have must be asked for in the same words, or it is made twice.
        steps = overrides.TINY_STEPS if options.quick else overrides.LONG_SEGMENTATION
        kept = {s: given for s, given in steps.items() if self.recipe == "psa" or s in SUPERVISED}
        words = [*overrides.for_steps(kept), "--"]
        words += [] if options.quick else overrides.workers().split()
        words += overrides.trainer(
            options.device, "bf16-mixed" if options.device == "cuda" else "32-true"
        ).split()
        return words + overrides.meter(str(options.rows.with_name("meter.jsonl")), 1 if options.quick else 6)

    def going(self) -> bool:
        """Tell what is new, and whether more can come."""
        going = self.child.poll() is None
        for step, row in self._finished().items():
            if step not in self.told:
                append(self.rows, row)
                self.told.add(step)
        if not going and self.child.returncode and "failed" not in self.told:
            append(self.rows, {"run": self.recipe, "failed": f"ended with {self.child.returncode}"})
            self.told.add("failed")
        return going

    def _finished(self) -> dict[str, dict[str, Any]]:
        path = self.folder / "scorecard.json"
        if not path.is_file():
            return {}
        card = json.loads(path.read_text(encoding="utf-8"))
        return {
            step: {"run": self.recipe, "step": step, "seconds": seconds, "scores": _scores(card, step)}
            for step, seconds in card["seconds"].items()
        }


def _settings(options: argparse.Namespace, root: Path) -> list[str]:
    words = ["--data", "voc", "--data-root", str(root), "--seed", "0", "--no-check"]
    if options.quick:
        return [*words, "--budget", "tiny"]
    return [*words, "--budget", "small", "--backbone", "mobilenetv2_100", "--weights", str(options.weights)]


def _scores(card: Mapping[str, Any], step: str) -> dict[str, float]:
    """What a step is judged by: shares in [0, 1]."""
    score = card["steps"].get(step) or {}
    found = {name: score[name] for name in ("miou", "best_miou") if score.get(name) is not None}
    for name in VARIANTS:
        if name in score.get("variants", {}):
            found[name] = score["variants"][name]["miou"]
    if "val/mAP" in score.get("metrics", {}):
        found["val/mAP"] = score["metrics"]["val/mAP"]
    return found


if __name__ == "__main__":
    sys.exit(main())
