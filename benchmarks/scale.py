"""`make scale`: a data set as large as COCO, with few pixels, through planning, resume and scores.

Files of one kind are hard links to one another: what is measured is their number, not their content.
Seconds are those of the processor, which do not depend on what else the machine does; the disk's come on top.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from benchmarks.memory import peak_growth_mb
from benchmarks.tables import write
from tag2mask.artifacts import (
    SOURCES_NAME,
    CommandRecord,
    Manifest,
    find_kind,
    manifest_hash,
    note_sources,
    read_manifest,
    save_labels,
    save_maps,
    write_manifest,
)
from tag2mask.core import ClassList, ScoreMaps
from tag2mask.core.tables import NOTHING, Table
from tag2mask.data import Table as ImageTable
from tag2mask.data.samples import WholeImages
from tag2mask.evaluate import score_step
from tag2mask.pipeline import Request, Settings, prepare
from tag2mask.pipeline.notes import write_input
from tag2mask.pipeline.settings import write_run
from tag2mask.pipeline.tasks import list_tasks

SIZES = (1_000, 10_000, 123_000)
"""Numbers of images; the last is that of COCO 2014 (train and val)."""
CLASSES = tuple(f"class {number:02d}" for number in range(80))
MOST_LINKS = 60_000
"""Names that a file is given; ext4 allows 65,000."""
STEEP = 1.35
"""An exponent above this is not linear any more: caches and noise stay below."""
_SIDE, _VAL = 16, 3


@dataclass(frozen=True)
class Cost:
    """What a part took with a number of images: seconds of the processor, and peak memory."""

    part: str
    images: int
    seconds: float
    mb: float | None


class World:
    """A data set and a finished `psa` run on it.

    Args:
        folder: an empty folder.
        images: how many; two thirds are train, as in COCO.
    """

    def __init__(self, folder: Path, images: int) -> None:
        self.folder = folder
        self.ids = [f"COCO_{number:012d}" for number in range(images)]
        self.data = folder / "data.yaml"
        self.run = folder / "run"
        self._write_data()

    def dataset(self) -> ImageTable:
        """The data set, with nothing read yet."""
        plain = yaml.safe_load(self.data.read_text())["data"]["init_args"]["dataset"]["init_args"]
        return ImageTable(**plain)

    def request(self) -> Request:
        """What a user asks for who goes on with the run."""
        return Request(Settings("psa", data=str(self.data), budget="tiny"), self.run)

    def _write_data(self) -> None:
        rng = np.random.default_rng(0)
        tags = rng.integers(0, len(CLASSES), (len(self.ids), 3))
        lines = [
            f"{image_id}.jpg,{';'.join({CLASSES[k]: None for k in row})},{self._split(n)}"
            for n, (image_id, row) in enumerate(zip(self.ids, tags, strict=True))
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "labels.csv").write_text("\n".join(["image,labels,split", *lines]) + "\n")
        arguments: dict[str, Any] = {"root": str(self.folder), "images": "images", "csv": "labels.csv"}
        arguments |= {"masks": "masks", "classes": list(CLASSES)}
        dataset = {"class_path": "tag2mask.data.Table", "init_args": arguments}
        self.data.write_text(yaml.safe_dump({"data": {"init_args": {"dataset": dataset}}}))
        Image.new("RGB", (_SIDE, _SIDE), (90, 120, 30)).save(self.folder / "image.jpg")
        save_labels(self.folder / "mask.png", np.full((_SIDE, _SIDE), 1, np.uint8))
        self._link("image.jpg", self.folder / "images", ".jpg", self.ids)
        self._link("mask.png", self.folder / "masks", ".png", self.ids)

    @staticmethod
    def _split(number: int) -> str:
        return "val" if number % _VAL == 0 else "train"

    def _link(self, name: str, folder: Path, suffix: str, ids: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        source = self.folder / name
        for number, image_id in enumerate(ids):
            target = folder / f"{image_id}{suffix}"
            if number % MOST_LINKS:
                os.link(source, target)
            else:
                source = Path(shutil.copy2(source, target))

    def finish(self) -> None:
        """Write every step as the runner and the stages would leave it."""
        dataset, classes = self.dataset(), ClassList.from_names(CLASSES)
        save_maps(
            self.folder, ScoreMaps("maps", np.zeros((1, 2, 2), np.float32), [1], (_SIDE, _SIDE)), classes
        )
        prepared = prepare(self.request())
        write_run(self.run, prepared.settings)
        for name, plan in prepared.plans.items():
            split = "val" if name == "segmentation" else "train"
            ids = dataset.ids(split)
            kind = find_kind(plan.step.kind)
            if "predict" in plan.step.commands:
                source = "maps.npz" if kind.suffix == ".npz" else "mask.png"
                for folder in kind.folders:
                    self._link(source, plan.folder / "out" / folder, kind.suffix, ids)
            note_sources(
                plan.folder / SOURCES_NAME,
                [dataset.image_path(i) for i in self.ids],
                [self.run / "cam" / SOURCES_NAME],
            )
            parents = {source: manifest_hash(self.run / source) for source in plan.step.inputs.values()}
            commands = {}
            for command in plan.step.commands:
                fingerprint, parts = plan.fingerprinted(command, parents)
                write_input(plan.folder, command, fingerprint, parts)
                commands[command] = CommandRecord(complete=True, fingerprint=fingerprint)
            manifest = Manifest(
                step=name, kind=kind.name, recipe="psa", classes=classes.to_dict(), data=dataset.describe(),
                split=split, image_ids=ids, parents=parents, commands=commands, checkpoint="", commit="",
                versions={}, complete=True,
            )  # fmt: skip
            write_manifest(plan.folder, manifest)


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
