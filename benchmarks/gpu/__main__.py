"""`python -m benchmarks.gpu`: tests, operators, throughput and a small run on a GPU, within minutes."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.gpu import report
from benchmarks.gpu.parts import Options, Part, all_parts
from benchmarks.gpu.record import Row, about, read, slug
from benchmarks.harness import ROOT

_SHARED = Path(os.environ.get("TAG2MASK_SHARED", ROOT.parent / "shared"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts and write what they find as they find it; 1 where a part did not end well."""
    args = _parser().parse_args(argv)
    if args.device == "cuda" and not torch.cuda.is_available():
        print("error: torch sees no CUDA device; --device cpu --quick rehearses without one", file=sys.stderr)
        return 2
    args.work.mkdir(parents=True, exist_ok=True)
    options = Options(
        args.device, args.quick, args.data.resolve(), args.weights.resolve(), args.work.resolve()
    )
    book = _Book(options, args.out, [part for part in all_parts() if part.name in args.only])
    deadline = time.monotonic() + args.seconds
    for part in book.parts:
        _run(part, options, deadline, book)
    print(book.path.with_suffix(".md").read_text(encoding="utf-8"))
    return int(any("ended with 0" not in row["how"] for row in book.ends()))


def _parser() -> argparse.ArgumentParser:
    names = [part.name for part in all_parts()]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: to rehearse, on a CPU too")
    parser.add_argument(
        "--data", type=Path, default=_SHARED / "voc-animals", help="voc-animals, in VOC's layout"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        default=_SHARED / "weights" / "mobilenetv2_100.safetensors",
        help="MobileNetV2's ImageNet weights",
    )
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"), help="folder for runs and logs")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder of the results")
    parser.add_argument("--seconds", type=float, default=480, help="limit for all of it (default: 480)")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="parts to run (default: all)")
    return parser


class _Book:
    """The page of results, written anew whenever there is something new."""

    def __init__(self, options: Options, out: Path, parts: Sequence[Part]) -> None:
        self.options = options
        self.parts = parts
        self.about = about(options.device)
        self.path = out / f"gpu-{slug(self.about['card'])}.md"
        self._shown = ""

    def write(self) -> None:
        found: dict[str, list[Row]] = {part.name: part.found(self.options) for part in self.parts}
        found["small_meter"] = read(self.options.work / "meter.jsonl")
        shown = repr(found)
        if shown != self._shown:
            report.write(self.path, self.about, found)
            self._shown = shown

    def ends(self) -> list[Row]:
        return [row for part in self.parts for row in part.found(self.options) if "part" in row]


def _run(part: Part, options: Options, deadline: float, book: _Book) -> None:
    seconds = max(1.0, deadline - time.monotonic())
    thread = threading.Thread(target=part.run, args=(options, seconds))
    thread.start()
    while thread.is_alive():
        thread.join(1)
        book.write()
    book.write()


if __name__ == "__main__":
    sys.exit(main())
