"""`make costs`: what the networks of psa cost by megapixel, for the estimates of `tag2mask run --dry-run`.

Each network is built as its page says, with random weights, and takes small crops on one thread; times are
those of the processor. A network's cost grows with the pixels, so crops of any size follow from it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser

from benchmarks.memory import peak_growth_mb
from benchmarks.tables import write
from tag2mask.core.library import open_library
from tag2mask.core.tables import Table
from tag2mask.modules import TrainableNetwork
from tag2mask.pipeline import Request, Settings, prepare
from tag2mask.pipeline.costs import COSTS_FILE, machine_gflops

STEPS = ("cam", "affinity", "segmentation")
BASES = ("light", "published")
"""Pages that hold settings of others, and name no network."""
CLASSES, FEW, MORE = 20, 1, 3
SIDES = {30: 256, 1000: 128}
"""Most MB of weights -> side of the crops: small networks need more pixels for a time that tells."""
MEGAPIXEL = 1e6


def build(backbone: str, step: str) -> TrainableNetwork:
    """The network that a step of psa trains on a backbone, with random weights."""
    asked = Settings("psa", data="shapes", backbone=backbone, weights="none")
    plan = prepare(Request(asked, Path("runs/costs"))).plans[step]
    model = dict(plan.settings["model"])
    model["init_args"] = {**model["init_args"], "num_classes": CLASSES}
    parser = ArgumentParser()
    parser.add_subclass_arguments(TrainableNetwork, "model")
    network: TrainableNetwork = parser.instantiate_classes(parser.parse_object({"model": model})).model
    network.log = network.log_dict = lambda *args, **kwargs: None  # type: ignore[method-assign]
    return network.train()


def batch_of(count: int, side: int) -> dict[str, Any]:
    """Crops of random pixels with everything that the three networks read."""
    rng = torch.Generator().manual_seed(0)
    label = torch.randint(0, CLASSES + 1, (count, side // 16, side // 16), generator=rng)
    label = label.repeat_interleave(16, 1).repeat_interleave(16, 2)
    return {
        "image": torch.randint(0, 256, (count, 3, side, side), generator=rng, dtype=torch.uint8).float(),
        "tags": torch.ones(count, CLASSES),
        "label": label,
        "fg_labels": label.byte(),
        "bg_labels": label.byte(),
    }


def measure(backbone: str, step: str, repeats: int) -> dict[str, float]:
    """Seconds and memory of one network: see `tag2mask.pipeline.costs`."""
    network = build(backbone, step)
    optimizer = network.optimization.build_optimizer(network.pretrained_parts(), network.new_parts())

    def train(batch: dict[str, Any]) -> None:
        optimizer.zero_grad()
        network.training_step(batch, 0).backward()
        optimizer.step()

    weights = sum(p.numel() * p.element_size() for p in network.parameters()) / 2**20
    side = next(side for most, side in SIDES.items() if weights < most)
    few, more = batch_of(FEW, side), batch_of(MORE, side)
    train(few)
    growth = [peak_growth_mb(lambda batch=batch: train(batch))[1] or 0.0 for batch in (few, more)]  # type: ignore[misc]
    training = _median(lambda: train(few), repeats)
    network.eval()
    with torch.inference_mode():
        forward = _median(lambda: network(few["image"]), repeats)
    small = FEW * side**2 / MEGAPIXEL
    return {
        "forward": forward / small,
        "training": training / small,
        "training_mb": (growth[1] - growth[0]) / ((MORE - FEW) * small),
        "weights_mb": weights,
    }


def _median(run: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return statistics.median(times)


def table(networks: dict[str, dict[str, dict[str, float]]]) -> Table:
    """A row for each network of each backbone."""
    heads = ["network", "step", "forward, s a megapixel", "training, s a megapixel"]
    heads += ["training, MB a megapixel", "weights, MB"]
    rows = [
        [
            name,
            step,
            f"{c['forward']:.2f}",
            f"{c['training']:.2f}",
            f"{c['training_mb']:.0f}",
            f"{c['weights_mb']:.0f}",
        ]
        for name, steps in networks.items()
        for step, c in steps.items()
    ]
    return Table(heads, rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    names = [name for name in open_library().names("backbones") if name not in BASES]
    parser = argparse.ArgumentParser(prog="make costs", description=__doc__)
    parser.add_argument("--backbones", nargs="+", default=names, metavar="NAME")
    parser.add_argument("--repeats", type=int, default=2, help="timed passes of each (default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write FILE, and the table as .md")
    parser.add_argument(
        "--keep", action="store_true", help=f"also write {COSTS_FILE.name}, which estimates read"
    )
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    gflops = machine_gflops()
    networks: dict[str, dict[str, dict[str, float]]] = {}
    for name in options.backbones:
        networks[name] = {step: measure(name, step, options.repeats) for step in STEPS}
        print(table({name: networks[name]}).text(), file=sys.stderr, flush=True)
    print(table(networks).text())
    about = f"one thread, crops of 128 or 256 pixels; float32 products of numpy at {gflops:.0f} GFLOP/s"
    if options.json:
        write(options.json, {"gflops": gflops, "networks": networks}, about, table(networks).markdown())
    if options.keep:
        COSTS_FILE.write_text(json.dumps({"gflops": gflops, "networks": networks}, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
