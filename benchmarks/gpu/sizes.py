"""`python -m benchmarks.gpu.sizes`: what the first image of a new size costs, and the second one.

The images of a data set have hundreds of sizes. cuDNN prepares every convolution for every shape of its input
when it meets it first; without cuDNN nothing has to be prepared, but each pass may take longer.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.gpu.record import append
from tag2mask.backbones import build_backbone
from tag2mask.ops import multi_scale_cam

SCALES = (0.4, 0.75, 1.15, 1.5)
"""Those of the small budget: with a flip, eight passes an image, of four shapes."""


def main() -> int:
    """Measure every network with and without cuDNN."""
    options = _parser().parse_args()
    networks = ("test_resnet",) if options.quick else ("mobilenetv2_100", "resnet38")
    sizes = ((40 + turn, 60) if options.quick else (340 + 3 * turn, 500) for turn in itertools.count())
    for name in networks:
        for cudnn in (True, False):
            for precision in ("bfloat16", "float32"):
                with torch.backends.cudnn.flags(enabled=cudnn):
                    first, again = _seconds(name, precision, torch.device(options.device), sizes)
                row = {"network": name, "cudnn": cudnn, "precision": precision}
                append(options.rows, {**row, "first_seconds": first, "seconds": again})
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.sizes", description=__doc__)
    parser.add_argument("--rows", type=Path, required=True, help="file of JSON lines for the results")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="a tiny network and small images")
    return parser


def _seconds(
    name: str, precision: str, device: torch.device, sizes: Iterator[tuple[int, int]]
) -> tuple[float, float]:
    """Seconds of the maps of an image of a new size, and of another one of that size."""
    backbone = build_backbone(name, "none", 16).to(device).eval()
    # The first size of all also loads libraries: only the second one is told.
    seconds = [0.0, 0.0]
    for size in itertools.islice(sizes, 2):
        image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, device=device)
        for turn in range(2):
            start = time.perf_counter()
            multi_scale_cam(lambda batch: backbone(batch)["out"], image, SCALES, precision=precision)
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[turn] = time.perf_counter() - start
    return seconds[0], seconds[1]


if __name__ == "__main__":
    sys.exit(main())
