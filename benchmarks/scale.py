"""`make scale`: a data set as large as COCO, with few pixels, through planning, resume and scores.

Files of one kind are hard links to one another: what is measured is their number, not their content.
Seconds are those of the processor, which do not depend on what else the machine does; the disk's come on top.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.memory import peak_growth_mb
from benchmarks.scale_world import World
from benchmarks.tables import write
from tag2mask.artifacts import find_kind, read_manifest
from tag2mask.core.tables import NOTHING, Table
from tag2mask.data.samples import WholeImages
from tag2mask.evaluate import score_step
from tag2mask.pipeline import prepare
from tag2mask.pipeline.tasks import list_tasks

SIZES = (1_000, 10_000, 123_000)
"""Numbers of images; the last is that of COCO 2014 (train and val)."""
STEEP = 1.35
"""An exponent above this is not linear any more: caches and noise stay below."""


@dataclass(frozen=True)
class Cost:
    """What a part took with a number of images: seconds of the processor, and peak memory."""

    part: str
    images: int
    seconds: float
    mb: float | None


def parts(world: World) -> dict[str, Callable[[], object]]:
    """What is measured, each as a user meets it; the first of them make what the later read."""
    dataset = world.dataset()

    def plan() -> None:
        actions = {
            task.plan.step.name: task.decision.action.name for task in list_tasks(prepare(world.request()))
        }
        if set(actions.values()) != {"SKIP"}:
            raise RuntimeError(f"a finished run is not taken for one: {actions}")

    def resume() -> None:
        done = find_kind("labels").files(world.run / "pseudo_label" / "out")
        images = WholeImages(dataset, dataset.ids("train"), done=done)
        if not all(images[n]["done"] for n in range(len(images))):
            raise RuntimeError("an image that is done is not taken for one")

    return {
        "tags and lists": lambda: [dataset.tags(i) for s in ("train", "val") for i in dataset.ids(s)],
        "check of the data set": lambda: dataset.check("train"),
        "the run's files (made once, not measured)": world.finish,
        "planning of a finished run": plan,
        "resume of a finished prediction": resume,
        "reading a manifest": lambda: read_manifest(world.run / "pseudo_label"),
        "scoring of label maps": lambda: score_step(world.run / "pseudo_label"),
        "scoring of score maps": lambda: score_step(world.run / "cam"),
    }


def measure(folder: Path, images: int) -> Iterator[Cost]:
    """The costs of every part with a number of images, each as it is known."""
    for name, part in parts(World(folder, images)).items():
        started = time.process_time()
        _, mb = peak_growth_mb(part)
        cost = Cost(name, images, time.process_time() - started, mb)
        print(f"{images} images: {name}: {cost.seconds:.2f} s", file=sys.stderr, flush=True)
        yield cost


def exponent(first: Cost, last: Cost) -> float:
    """How the time grows with the number of images: 1 in proportion, 2 with its square."""
    return math.log(max(last.seconds, 1e-4) / max(first.seconds, 1e-4)) / math.log(last.images / first.images)


def table(costs: Sequence[Cost]) -> Table:
    """A row for each part, a column for each size, and the growth between the last two."""
    sizes = list(dict.fromkeys(cost.images for cost in costs))
    rows = []
    for name in dict.fromkeys(cost.part for cost in costs):
        series = [cost for cost in costs if cost.part == name]
        cells = [f"{c.seconds:.2f} ({0 if c.mb is None else c.mb:.0f})" for c in series]
        cells += [NOTHING] * (len(sizes) - len(cells))  # not measured yet
        growth = f"{exponent(*series[-2:]):.2f}" if len(series) > 1 else ""
        rows.append([name, *cells, growth])
    return Table(["CPU s (peak MB)", *(f"{size:,} images" for size in sizes), "exponent"], rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 if a part grows faster than the number of images."""
    parser = argparse.ArgumentParser(prog="make scale", description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=list(SIZES))
    parser.add_argument(
        "--folder", type=Path, help="where the files go (default: the system's temporary folder)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write FILE, and the table as .md")
    options = parser.parse_args(argv)
    costs: list[Cost] = []
    for images in options.images:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for cost in measure(Path(folder) / "world", images):
                costs.append(cost)
                if options.json:  # at once, for a run that is stopped
                    source = "files of one kind are links to one another"
                    found = {"costs": [asdict(cost) for cost in costs]}
                    write(options.json, found, source, table(costs).markdown())
            shutil.rmtree(Path(folder) / "world")
    print(table(costs).text())
    largest = max(options.images)
    steep = [
        series[-1].part
        for name in dict.fromkeys(cost.part for cost in costs)
        if len(series := [c for c in costs if c.part == name]) > 1
        and series[-1].images == largest
        and series[-1].seconds > 1
        and exponent(*series[-2:]) > STEEP
    ]
    print(
        f"faster than in proportion: {', '.join(steep)}"
        if steep
        else "nothing grows faster than in proportion"
    )
    return 1 if steep else 0


if __name__ == "__main__":
    sys.exit(main())
