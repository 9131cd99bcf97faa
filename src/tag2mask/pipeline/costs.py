"""What steps cost: measured constants of networks and operators, and the speed of this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tag2mask.artifacts import TRAINING_SCRIPTS

COSTS_FILE = Path(__file__).with_name("costs.json")
"""In the form of ``make costs``: psa's three networks on each shipped backbone, on one core."""

CRF: Mapping[str, float] = {"cam": 0.35, "labels": 0.65, "dsrg": 0.65, "deeplab": 2.0}
"""Seconds a megapixel on one core, by parameter set: what kept runs of 600 images took, in the proportions
that the sets have beside each other on the same images."""
SUPERPIXELS, WALK, FILTER = 0.53, 0.09, 0.017
"""Seconds a megapixel on one core, of a guided filter for each map, from ``benchmarks/results/bench-cpu.md``
and ``scaling-cpu.md``."""
LOADED, WRITTEN = 0.007, 0.05
"""Seconds an image: loading a crop (``training-cpu.md``); reading, writing and the rest of a prediction."""
GPU = 1280.0
"""How many cores of the table's machine one H200 stands for, in psa's classifier with ResNet38 in float32:
34.4 crops of 448 a second (``gpu-nvidia-h200.md``) by the seconds that one takes on a core."""
BFLOAT16 = 0.62
"""Time and memory of a training in bfloat16 over those in float32 (``training-cpu.md``)."""
_SIDE = 768
_STEPS = dict(zip(TRAINING_SCRIPTS, ("cam", "affinity", "segmentation"), strict=True))


@dataclass(frozen=True)
class NetworkCost:
    """What a network costs by the megapixels that go through it, on one core in float32.

    Attributes:
        forward: seconds a megapixel of a prediction.
        training: seconds a megapixel of a training step.
        training_mb: memory a megapixel of a batch, in MB.
        weights_mb: size of the weights, in MB.
    """

    forward: float
    training: float
    training_mb: float
    weights_mb: float


def network_cost(backbone: str, script: str) -> NetworkCost | None:
    """The cost of the network that a script trains; None for a backbone that was not measured."""
    found = _table()["networks"].get(backbone)
    return NetworkCost(**found[_STEPS[script]]) if found else None


def speed() -> float:
    """How fast a core of this machine is, beside the one of the table: 1 for the same."""
    return machine_gflops() / float(_table()["gflops"])


@cache
def machine_gflops() -> float:
    """The best of some products of float32 matrices, in GFLOP a second of the processor, over all threads."""
    matrix = np.ones((_SIDE, _SIDE), np.float32)
    best = float("inf")
    for _ in range(4):
        start = time.process_time()
        matrix @ matrix
        best = min(best, time.process_time() - start)
    return 2 * _SIDE**3 / 1e9 / best


@cache
def _table() -> Mapping[str, Any]:
    plain: Mapping[str, Any] = json.loads(COSTS_FILE.read_text(encoding="utf-8"))
    return plain
