"""`python -m benchmarks.training`: where a training step of psa's small budget spends its time on the CPU.

Each network takes steps on the same crops in float32 and in bfloat16 by turns, so that whatever else the
machine does meets both. Times are those of the processor, on one thread, for the same reason.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from torch.utils.data import default_collate

from benchmarks.tables import write
from tag2mask.backbones import BackboneSpec
from tag2mask.core import keep_freed_memory
from tag2mask.core.tables import Table
from tag2mask.data import VOC
from tag2mask.data.samples import TrainCrops, TrueMasks
from tag2mask.data.transforms import Augment, AugmentSpec
from tag2mask.heads import HeadSpec
from tag2mask.modules import AffinityNet, Classifier, SegmentationModel, TrainableNetwork
from tag2mask.modules.optim import Optimization

BACKBONE = BackboneSpec(name="mobilenetv2_100", weights="none", output_stride=16, frozen=("stride4",))
OPTIMIZATION = Optimization(optimizer="torch.optim.AdamW", lr=2e-4, weight_decay=0.01)
SIZED = AugmentSpec(crop=320, long_side=(256, 448))
Batch = dict[str, Any]
PARTS = ("loader", "forward", "backward", "optimiser")


@dataclass(frozen=True)
class Cost:
    """Median seconds of the parts of one training step.

    Attributes:
        network: what trains.
        precision: float32 or bfloat16.
        batch: crops in a step.
        seconds: part -> seconds of the processor.
    """

    network: str
    precision: str
    batch: int
    seconds: Mapping[str, float]

    @property
    def images_per_second(self) -> float:
        """Crops per second on one core."""
        return self.batch / sum(self.seconds.values())


def networks(classes: int) -> dict[str, tuple[TrainableNetwork, int]]:
    """Network by name, with its batch, as psa trains them with the small budget."""
    head = HeadSpec(name="deeplabv3plus", channels=128)
    return {
        "classifier": (Classifier(classes, BACKBONE, OPTIMIZATION), 16),
        "affinity": (AffinityNet(classes, BACKBONE, OPTIMIZATION), 8),
        "segmentation": (SegmentationModel(classes, BACKBONE, OPTIMIZATION, head), 8),
    }


def batch_of(images: VOC, count: int) -> Batch:
    """Crops with everything that the three networks read; true masks stand for all labels."""
    crops = TrainCrops(images, images.ids("train")[:count], Augment(SIZED), True, TrueMasks(images))
    batch: Batch = default_collate([crops[i] for i in range(count)])
    return {**batch, "fg_labels": batch["label"].byte(), "bg_labels": batch["label"].byte()}


def measure(name: str, network: TrainableNetwork, batch: Batch, repeats: int, loader: float) -> list[Cost]:
    """The cost of a step in float32 and in bfloat16, after a first step of each for the caches."""
    network.train()
    network.log = network.log_dict = lambda *args, **kwargs: None  # type: ignore[method-assign]
    optimizer = OPTIMIZATION.build_optimizer(network.pretrained_parts(), network.new_parts())
    found: dict[str, list[list[float]]] = {"float32": [], "bfloat16": []}
    for _ in range(repeats + 1):
        for precision, times in found.items():
            times.append(_step(network, batch, optimizer, precision == "bfloat16"))
    count = len(batch["image"])
    costs = []
    for precision, times in found.items():
        medians = [statistics.median(part) for part in zip(*times[1:], strict=True)]
        seconds = dict(zip(PARTS, [loader * count, *medians], strict=True))
        costs.append(Cost(name, precision, count, seconds))
    return costs


def _step(network: TrainableNetwork, batch: Batch, optimizer: Optimizer, bfloat16: bool) -> list[float]:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        loss, forward = _timed(lambda: network.training_step(batch, 0))
    optimizer.zero_grad()
    _, backward = _timed(loss.backward)
    _, update = _timed(optimizer.step)
    return [forward, backward, update]


def _timed(run: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = run()
    return result, time.process_time() - start


def markdown(costs: Sequence[Cost]) -> str:
    """One row per network and precision; milliseconds per crop."""
    plain = {c.network: c for c in costs if c.precision == "float32"}
    rows = [
        [
            c.network,
            c.precision,
            *(f"{1000 * c.seconds[part] / c.batch:.1f}" for part in PARTS),
            f"{c.images_per_second:.1f}",
            f"{c.images_per_second / plain[c.network].images_per_second:.2f}x",
        ]
        for c in costs
    ]
    heads = ["network", "precision", *(f"{part}, ms a crop" for part in PARTS), "crops/s", "over float32"]
    return Table(heads, rows).markdown()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="images with masks in VOC's layout")
    parser.add_argument("--repeats", type=int, default=5, help="timed steps of each (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write FILE, and the table as .md")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    keep_freed_memory()
    images = VOC(str(options.data))
    costs: list[Cost] = []
    for name, (network, count) in networks(len(images.classes)).items():
        batch_of(images, 1)
        batch, seconds = _timed(lambda count=count: batch_of(images, count))  # type: ignore[misc]
        costs += measure(name, network, batch, options.repeats, seconds / count)
    table = markdown(costs)
    print(table)
    if options.json:
        plain = [{**asdict(c), "images_per_second": c.images_per_second} for c in costs]
        write(options.json, {"costs": plain}, f"crops of {SIZED.crop} pixels, one thread", table)
        print(f"written to {options.json} and {options.json.with_suffix('.md')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
