"""`make estimates`: what psa takes on VOC and COCO, on machines that are not at hand.

Nothing is measured here: it is the estimate of `tag2mask run --dry-run`, for given data sets and machines. A
second table has estimates of recipes on voc-animals beside what kept runs took.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.tables import write
from tag2mask.artifacts.image_sizes import ImageSizes
from tag2mask.core.tables import Table, duration
from tag2mask.pipeline import Devices, Extras, Request, Settings, prepare
from tag2mask.pipeline.estimate import Estimate, estimate_step
from tag2mask.pipeline.forecast import Forecast, sources_of
from tag2mask.pipeline.machine import Machine

_VOC: dict[str, Any] = {
    "sampled": 64, "pixels": 182_000.0, "largest": 250_000, "long_side": 492.0, "tags": 1.5, "classes": 20
}  # fmt: skip
_COCO: dict[str, Any] = {
    "sampled": 64, "pixels": 278_000.0, "largest": 410_000, "long_side": 628.0, "tags": 2.9, "classes": 80
}  # fmt: skip
DATA = {
    "VOC, 1,464": ImageSizes(counts={"train": 1_464, "val": 1_449}, **_VOC),
    "VOC with SBD, 10,582": ImageSizes(counts={"train": 10_582, "val": 1_449}, **_VOC),
    "COCO, 82,783": ImageSizes(counts={"train": 82_783, "val": 40_504}, **_COCO),
}
"""Numbers of images as published; sizes and tags are means of these data sets."""
ANIMALS = ImageSizes(
    counts={"train": 600, "val": 150},
    sampled=64,
    pixels=181_000,
    largest=250_000,
    long_side=499,
    tags=1.2,
    classes=6,
)
"""As `tag2mask data sizes` has them of voc-animals."""
RESULTS = Path(__file__).with_name("results")
KEPT = dict.fromkeys(("psa", "best", "sc_cam", "rrm", "ial"), "recipes-voc-animals")
KEPT |= {"self_guided": "self-guided-one-round-voc-animals"}
"""Recipe -> the kept result that says what its runs took at the small budget."""
CHOICES = {"small, mobilenetv2_100": ("small", "mobilenetv2_100"), "full, resnet38": ("full", "resnet38")}
"""Budget and network."""
CARD = {"gpu": "H200", "gpu_memory_mb": 141_000.0}
MACHINES = {
    "1 core": (Machine(1, 1.0, None, 0.0), 1),
    "1 GPU, 16 cores": (Machine(16, 1.0, None, 0.0, **CARD), 1),  # type: ignore[arg-type]
    "8 GPUs, 128 cores": (Machine(128, 1.0, None, 0.0, **CARD), 8),  # type: ignore[arg-type]
}
"""Cores as fast as the one that was measured, and GPUs."""
FEWER = {"segmentation": {"trainer.devices": 5}}
"""A batch of 10 images cannot be shared out among 8 devices."""


def estimates(choice: str, images: ImageSizes, machine: str, recipe: str = "psa") -> Forecast:
    """The estimate of a whole run of a recipe."""
    budget, backbone = CHOICES[choice]
    here, devices = MACHINES[machine]
    extras = Extras(Devices(devices), overrides=FEWER if devices == 8 and budget == "full" else {})
    asked = Settings(recipe, data="voc", budget=budget, backbone=backbone, weights="none")
    plans = prepare(Request(asked, Path("runs/estimates"), extras=extras)).plans
    planned = {plan.folder: plan.settings for plan in plans.values()}
    steps = [
        estimate_step(plan, plan.step.commands, images, here, sources_of(plan, planned))
        for plan in plans.values()
    ]
    return Forecast(steps, images, here)


def rows() -> list[tuple[list[str], list[Estimate]]]:
    """A row of cells for each run, and its steps."""
    found = []
    for choice in CHOICES:
        for data, images in DATA.items():
            for machine in MACHINES:
                run = estimates(choice, images, machine)
                longest = max(run.steps, key=lambda step: step.seconds or 0.0)
                cells = [
                    choice,
                    data,
                    machine,
                    duration(run.seconds),
                    f"{longest.step} {duration(longest.seconds or 0)}",
                ]
                cells += [f"{run.disk_mb / 1024:.1f} GB", f"{run.memory_mb / 1024:.1f} GB"]
                found.append((cells, list(run.steps)))
    return found


def beside_kept_runs() -> Table:
    """Recipes on voc-animals at the small budget, on one core: the estimate, and what kept runs took."""
    head = ["recipe", "time, estimated", "took", "memory, estimated", "took", "runs", "kept in"]
    return Table(head, [beside_kept(recipe) for recipe in KEPT])


def beside_kept(recipe: str) -> list[str]:
    """The row of a recipe."""
    name = KEPT[recipe]
    run = estimates("small, mobilenetv2_100", ANIMALS, "1 core", recipe)
    kept = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"][recipe]
    minutes = sorted(row["minutes"] for row in kept)
    took = " to ".join(dict.fromkeys(duration(60 * value) for value in (minutes[0], minutes[-1])))
    memory = [run.memory_mb, max(row["memory"] for row in kept)]
    estimated, held = (f"{value / 1024:.1f} GB" for value in memory)
    return [recipe, duration(run.seconds), took, estimated, held, str(len(kept)), f"{name}.md"]


def _page(table: Table, beside: Table) -> str:
    words = "Recipes on voc-animals (600 and 150 images), small budget, 1 core, beside what kept runs took:"
    return f"{table.markdown()}\n\n{words}\n\n{beside.markdown()}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print, write."""
    parser = argparse.ArgumentParser(prog="make estimates", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write FILE, and the table as .md")
    options = parser.parse_args(argv)
    every = rows()
    head = ["budget, network", "images", "machine", "time", "longest step", "disk", "memory, largest step"]
    table = Table(head, [cells for cells, _ in every])
    beside = beside_kept_runs()
    print(f"{table.text()}\n\n{beside.text()}")
    if options.json:
        plain = [{"run": cells[:3], "steps": [asdict(step) for step in steps]} for cells, steps in every]
        write(options.json, {"runs": plain}, "nothing measured: estimates", _page(table, beside))
    return 0


if __name__ == "__main__":
    sys.exit(main())
