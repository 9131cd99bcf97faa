"""`python -m benchmarks.gpu.throughput`: images/s of psa's steps at the paper's sizes, and their bound."""

from __future__ import annotations

import argparse
import csv
import gc
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from benchmarks.gpu import overrides
from benchmarks.gpu.record import append
from benchmarks.gpu.steps import run_here

IMAGES = 320
"""Images that every step gets."""
WITHOUT_NETWORK = ("affinity_labels", "pseudo_label")
"""Steps on which the precision has no say."""


def main() -> int:
    """Measure in both precisions; 1 where a step failed."""
    options = _parser().parse_args()
    root = one_size(options.data, options.work / "slice", 9 if options.quick else IMAGES)
    codes = [_run(options, root, precision) for precision in ("bf16-mixed", "32-true")]
    return int(any(codes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.throughput", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="voc-animals, in VOC's layout")
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--rows", type=Path, required=True, help="file of JSON lines for the results")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny networks and few images")
    return parser


def one_size(root: Path, target: Path, count: int) -> Path:
    """A folder in VOC's layout with images of the commonest size: a new size has a cost of its own.

    Args:
        root: a folder in VOC's layout.
        target: the folder to make.
        count: images of the train list; where there are fewer of that size, they come again under new ids.
    """
    lists = root / "ImageSets" / "Segmentation"
    sizes = {i: _size(root, i) for name in ("train", "val") for i in _ids(lists, name)}
    common = Counter(sizes.values()).most_common(1)[0][0]
    train, val = ([i for i in _ids(lists, name) if sizes[i] == common] for name in ("train", "val"))
    again = [(i, f"{i}_{turn}") for turn in range(-(-count // len(train))) for i in train][:count]
    chosen = {"train": again, "val": [(i, i) for i in val[: max(2, count // 6)]]}
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    tags = dict(csv.reader((root / "image_labels.csv").read_text(encoding="utf-8").splitlines()))
    rows = ["image,labels"]
    for name, pairs in chosen.items():
        for old, new in pairs:
            _link(root / "JPEGImages" / f"{old}.jpg", target / "JPEGImages" / f"{new}.jpg")
            _link(root / "SegmentationClass" / f"{old}.png", target / "SegmentationClass" / f"{new}.png")
            rows.append(f"{new}.jpg,{tags.get(old) or tags[f'{old}.jpg']}")
        path = target / "ImageSets" / "Segmentation" / f"{name}.txt"
        path.write_text("\n".join(new for _, new in pairs) + "\n", encoding="utf-8")
    (target / "image_labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return target


def _ids(lists: Path, name: str) -> list[str]:
    return (lists / f"{name}.txt").read_text(encoding="utf-8").split()


def _size(root: Path, image_id: str) -> tuple[int, int]:
    with Image.open(root / "JPEGImages" / f"{image_id}.jpg") as image:
        return image.size


def _link(source: Path, target: Path) -> None:
    if not target.is_symlink():
        target.symlink_to(source.absolute())


def _run(options: argparse.Namespace, root: Path, precision: str) -> int:
    """The whole of psa with the meter; a command that fails becomes a row and ends the run."""
    words = ["psa", "--data", "voc", "--data-root", str(root), "--run-dir", str(options.work / precision)]
    words += ["--budget", "tiny" if options.quick else "full", "--weights", "none", "--no-check"]
    words += overrides.for_steps(overrides.TINY_STEPS if options.quick else overrides.RESNET38_STEPS)
    loader = [] if options.quick else overrides.workers().split()
    words += ["--", *loader, *overrides.trainer(options.device, precision).split()]
    last = {}

    def metered(step: str, command: str) -> Sequence[str]:
        _empty()
        last.update(step=step, command=command, precision=precision)
        if precision == "32-true" and step in WITHOUT_NETWORK:
            return []
        return overrides.meter(str(options.rows), 1 if options.quick or command == "predict" else 6)

    try:
        code = run_here(words, metered)
        failed = f"ended with {code}" if code else ""
    except Exception as error:
        traceback.print_exc()
        failed = repr(error)[:300]
    if failed:
        append(options.rows, {**last, "failed": failed})
    return int(bool(failed))


def _empty() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    sys.exit(main())
