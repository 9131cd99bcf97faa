"""`python -m benchmarks.scaling`: how the cost of operators grows with image size, classes and threads."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from benchmarks.harness import RGB, Inputs, channels_first
from benchmarks.memory import peak_growth_mb
from benchmarks.tables import write
from tag2mask.core.tables import Table
from tag2mask.ops import CRF_CAM, affinity_graph, dense_crf, felzenszwalb, guided_filter, random_walk

SIZES = ((250, 188), (500, 375), (1024, 512), (1024, 1024), (2048, 1024))
"""RGB width and height in pixels."""
IMAGE_SIZE = (500, 375)
STRIDES = (8, 4)
CLASSES = (2, 3, 5, 11, 21)
THREADS = (1, 2, 4, 8)
CHANNELS, MAPS, BATCH = 448, 3, 8


@dataclass(frozen=True)
class Point:
    """One operator at one size.

    Attributes:
        operator: what runs.
        varied: size, classes or threads: what changes along the series.
        at: the value of it, in words.
        run: one call.
    """

    operator: str
    varied: str
    at: str
    run: Callable[[], Any]


@dataclass(frozen=True)
class Cost:
    """What one call of a point costs: median seconds and peak memory on top of the input."""

    operator: str
    varied: str
    at: str
    seconds: float
    mb: float | None


def points(inputs: Inputs) -> Iterator[Point]:
    """Every measured point; its input is made when it is reached."""
    for width, height in SIZES:
        size = f"{width}x{height}"
        image = inputs.image(height, width)
        for stride in STRIDES:
            yield Point(f"random walk, stride {stride}", "image size", size, _walk(image, stride))
        yield Point("dense CRF, 3 labels", "image size", size, _crf([image], MAPS, 1))
        yield Point("guided filter, window 35", "image size", size, _guided(image))
        turned = channels_first(image)
        yield Point("superpixels", "image size", size, lambda image=turned: felzenszwalb(image))
    width, height = IMAGE_SIZE
    image = inputs.image(height, width)
    for classes in CLASSES:
        yield Point(f"dense CRF, {width}x{height}", "labels", str(classes), _crf([image], classes, 1))
        walk = _walk(image, STRIDES[0], classes)
        yield Point(f"random walk, {width}x{height}, stride {STRIDES[0]}", "labels", str(classes), walk)
    images = inputs.images(BATCH, height, width)
    for threads in THREADS:
        yield Point(f"dense CRF, {BATCH} images", "threads", str(threads), _crf(images, MAPS, threads))


def _walk(image: RGB, stride: int, count: int = MAPS) -> Callable[[], Any]:
    height, width = (-(-side // stride) for side in image.shape[:2])
    small = np.array(Image.fromarray(image).resize((width, height)), np.float32) / 255
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(CHANNELS, 3)).astype(np.float32)
    features = torch.from_numpy(np.einsum("ck,hwk->chw", mixing, small)).contiguous()
    maps = torch.from_numpy(rng.random((count, height, width)).astype(np.float32))
    return lambda: random_walk(affinity_graph(features), maps)


def _crf(images: Sequence[RGB], labels: int, threads: int) -> Callable[[], Any]:
    height, width = images[0].shape[:2]
    coarse = np.random.default_rng(0).random((labels, height // 16, width // 16)).astype(np.float32)
    resized = [Image.fromarray(m).resize((width, height), Image.Resampling.BICUBIC) for m in coarse]
    scores = np.clip(np.stack([np.asarray(m) for m in resized]), 0, 1)

    def run() -> list[Any]:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda image: dense_crf(channels_first(image), scores, CRF_CAM), images))

    return run


def _guided(image: RGB) -> Callable[[], Any]:
    guide = torch.from_numpy(image.astype(np.float32).mean(2) / 255)
    maps = torch.from_numpy(np.random.default_rng(0).random((MAPS, *guide.shape)).astype(np.float32))
    return lambda: guided_filter(guide, maps)


def measure(point: Point, repeats: int) -> Cost:
    """The median over `repeats` calls, after a first one for compilers and caches."""
    point.run()
    _, mb = peak_growth_mb(point.run)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        point.run()
        seconds.append(time.perf_counter() - start)
    return Cost(point.operator, point.varied, point.at, statistics.median(seconds), mb)


def markdown(costs: Sequence[Cost]) -> str:
    """One table for each thing that varies: a row per operator, a column per value."""
    tables = []
    for varied in dict.fromkeys(c.varied for c in costs):
        chosen = [c for c in costs if c.varied == varied]
        columns = list(dict.fromkeys(c.at for c in chosen))
        rows = []
        for operator in dict.fromkeys(c.operator for c in chosen):
            cells = {c.at: _cell(c) for c in chosen if c.operator == operator}
            rows.append([operator, *(cells.get(at, "") for at in columns)])
        tables.append(Table([f"ms (peak MB) by {varied}", *columns], rows).markdown())
    return "\n\n".join(tables)


def _cell(cost: Cost) -> str:
    memory = "" if cost.mb is None else f" ({cost.mb:.0f})"
    return f"{1000 * cost.seconds:.3g}{memory}"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="timed calls of each point (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write FILE, and the tables as .md")
    options = parser.parse_args(argv)
    inputs = Inputs.find()
    costs = [measure(p, options.repeats) for p in tqdm(points(inputs), unit="point", file=sys.stderr)]
    tables = markdown(costs)
    print(tables)
    if options.json:
        write(options.json, {"costs": [asdict(c) for c in costs]}, inputs.source, tables)
        print(f"written to {options.json} and {options.json.with_suffix('.md')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
