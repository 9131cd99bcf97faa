"""`python -m benchmarks.gpu.throughput`: images/s of every step of psa at the paper's sizes, and what bounds it."""

from __future__ import annotations

import argparse
import gc
import sys
import traceback
from pathlib import Path

import torch

from benchmarks.gpu import overrides
from benchmarks.gpu.record import append
from benchmarks.gpu.steps import Command, commands

PHOTOS = 128
"""Photos of the slice that every step gets."""
WITHOUT_NETWORK = ("affinity_labels", "pseudo_label")
"""Steps on which the precision has no say."""


def main() -> int:
    """Measure; 1 where a step failed."""
    options = _parser().parse_args()
    root = slice_of(options.data, options.work / "slice", 9 if options.quick else PHOTOS)
    failed = 0
    for precision in ("bf16-mixed", "32-true"):
        for command in _commands(options, root, precision):
            if precision == "32-true" and command.step in WITHOUT_NETWORK and failed == 0:
                command.run()
                continue
            failed += not _measure(command, options)
    return int(failed > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.throughput", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="voc-animals, in VOC's layout")
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--rows", type=Path, required=True, help="file of JSON lines for the results")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny networks and few photos")
    return parser


def slice_of(root: Path, target: Path, count: int) -> Path:
    """A folder in VOC's layout with the first photos of the lists of another one."""
    lists = target / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True, exist_ok=True)
    for folder in ("JPEGImages", "SegmentationClass", "image_labels.csv"):
        link = target / folder
        if not link.is_symlink():
            link.symlink_to((root / folder).absolute())
    for name, size in (("train", count), ("val", max(2, count // 2))):
        ids = (root / "ImageSets" / "Segmentation" / f"{name}.txt").read_text(encoding="utf-8").split()
        (lists / f"{name}.txt").write_text("\n".join(ids[:size]) + "\n", encoding="utf-8")
    return target


def _commands(options: argparse.Namespace, root: Path, precision: str) -> list[Command]:
    budget = "tiny" if options.quick else "full"
    steps = overrides.TINY_STEPS if options.quick else overrides.RESNET38_STEPS
    words = ["psa", "--data", "voc", "--data-root", str(root), "--run-dir", str(options.work / precision)]
    words += ["--budget", budget, "--weights", "none"]
    for step, given in steps.items():
        words += ["--step-args", step, given]
    loader = [] if options.quick else overrides.workers().split()
    return commands([*words, "--", *loader, *overrides.trainer(options.device, precision).split()])


def _measure(command: Command, options: argparse.Namespace) -> bool:
    """Run a command with the meter; a failure becomes a row too, and the next command follows."""
    skip = 1 if options.quick or command.name == "predict" else 6
    try:
        command.run(overrides.meter(str(options.rows), command.step, skip))
        return True
    except Exception as error:
        traceback.print_exc()
        append(options.rows, {"step": command.step, "command": command.name, "failed": repr(error)[:300]})
        return False
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    sys.exit(main())
