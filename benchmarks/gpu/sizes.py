"""`python -m benchmarks.gpu.sizes`: what the first image of a new size costs, and the second one.

The images of a data set have hundreds of sizes. cuDNN prepares every convolution for every shape of its input
when it meets it first; without cuDNN nothing has to be prepared, but each pass may take longer.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.gpu.record import Row, append
from benchmarks.harness import channels_first
from tag2mask.backbones import build_backbone
from tag2mask.heads import build_segmenter
from tag2mask.ops import multi_scale_cam

SCALES = (0.4, 0.75, 1.15, 1.5)
"""Those of the small budget: with a flip, eight passes an image, of four shapes."""
_PASS_SECONDS = 8
"""A pass over whole images ends after this time, wherever it is."""


def main() -> int:
    """Whole images of a data set first, then every network on a new size, with and without cuDNN."""
    options = _parser().parse_args()
    device = torch.device(options.device)
    images = _of_many_sizes(options.data, 3 if options.quick else 41) if options.data else []
    for row in passes_over(images, device, options.quick) if images else ():
        append(options.rows, row)
    networks = ("test_resnet",) if options.quick else ("mobilenetv2_100", "resnet38")
    sizes = ((40 + turn, 60) if options.quick else (340 + 3 * turn, 500) for turn in itertools.count())
    for name in networks:
        for cudnn in (True, False):
            for precision in ("bfloat16", "float32"):
                with torch.backends.cudnn.flags(enabled=cudnn):
                    first, again = _seconds(name, precision, device, sizes)
                row = {"network": name, "cudnn": cudnn, "precision": precision}
                append(options.rows, {**row, "first_seconds": first, "seconds": again})
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.sizes", description=__doc__)
    parser.add_argument("--rows", type=Path, required=True, help="file of JSON lines for the results")
    parser.add_argument("--data", type=Path, help="voc-animals, for passes over whole images")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="a tiny network and small images")
    return parser


def _of_many_sizes(folder: Path, count: int) -> list[Tensor]:
    """Images (3, H, W) uint8 that repeat sizes as a data set does: every so many of all."""
    paths = sorted((folder / "JPEGImages").glob("*.jpg"))
    chosen = paths[:: max(1, len(paths) // count)][:count]
    return [torch.from_numpy(channels_first(np.asarray(Image.open(p).convert("RGB")))) for p in chosen]


def passes_over(images: Sequence[Tensor], device: torch.device, quick: bool) -> Iterator[Row]:
    """Seconds of whole passes, or of as many images as the time lasts for; the first one only warms up."""
    for name, run in _networks(device, quick):
        for cudnn in (True, False):
            with torch.backends.cudnn.flags(enabled=cudnn), torch.no_grad():
                _timed(run, images[0].to(device))
                seconds: list[float] = []
                for image in images[1:]:
                    seconds.append(_timed(run, image.to(device)))
                    if sum(seconds) > _PASS_SECONDS:
                        break
            sizes = len({tuple(image.shape) for image in images[1 : len(seconds) + 1]})
            count = {"images": len(seconds), "of": len(images) - 1, "sizes": sizes}
            yield {"pass": name, "cudnn": cudnn, **count, "seconds": sum(seconds)}


def _networks(device: torch.device, quick: bool) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """What predicts whole images in the small budget and in the papers', in bfloat16."""
    for name in ("test_resnet",) if quick else ("mobilenetv2_100", "resnet38"):
        network = build_backbone(name, "none", 16).to(device).eval()
        maps = partial(_maps, network)
        yield f"maps of {name}, {len(SCALES)} scales and a flip", maps
    name = "test_resnet" if quick else "mobilenetv2_100"
    segmenter = build_segmenter("deeplabv2", build_backbone(name, "none", 16), 6).to(device).eval()
    yield f"deeplabv2 on {name}, one scale", partial(_segmentation, segmenter)


def _maps(network: nn.Module, image: Tensor, precision: str = "bfloat16") -> Tensor:
    return multi_scale_cam(lambda batch: network(batch)["out"], image, SCALES, precision=precision)


def _segmentation(network: nn.Module, image: Tensor) -> Tensor:
    with torch.autocast(image.device.type, dtype=torch.bfloat16):
        logits: Tensor = network(image[None].float())
    return logits


def _timed(run: Callable[[Tensor], Tensor], image: Tensor) -> float:
    start = time.perf_counter()
    run(image)
    if image.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _seconds(
    name: str, precision: str, device: torch.device, sizes: Iterator[tuple[int, int]]
) -> tuple[float, float]:
    """Seconds of the maps of an image of a new size, and of another one of that size."""
    backbone = build_backbone(name, "none", 16).to(device).eval()
    # The first size of all also loads libraries: only the second one is told.
    seconds = [0.0, 0.0]
    for size in itertools.islice(sizes, 2):
        image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, device=device)
        seconds = [_timed(partial(_maps, backbone, precision=precision), image) for _ in range(2)]
    return seconds[0], seconds[1]


if __name__ == "__main__":
    sys.exit(main())
