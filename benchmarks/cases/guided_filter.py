"""The guided filter beside pooling as the box filter."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.harness import Agreement, Case, Inputs
from benchmarks.reference.guided_filter import guided_filter_by_pooling
from tag2mask.ops import guided_filter

SIDE, MAPS, WINDOW, EPS, ITERATIONS = 321, 3, 35, 1e-6, 15


def cases(inputs: Inputs) -> list[Case]:
    guide = cv2.cvtColor(inputs.image(SIDE, SIDE), cv2.COLOR_RGB2GRAY) / 255.0
    rng = np.random.default_rng(0)
    coarse = rng.random((MAPS, 11, 11)).astype(np.float32)
    maps = np.stack([cv2.resize(m, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) for m in coarse])

    def pooled(iterations: int) -> Any:
        planes = torch.from_numpy(guide), torch.from_numpy(maps)
        return guided_filter_by_pooling(*planes, WINDOW, EPS, iterations).numpy()

    def agreement(_: Any, result: Any) -> Agreement:
        error = np.abs(pooled(ITERATIONS) - result).max()
        return Agreement(f"max error {error:.0e}", bool(error <= 1e-5))

    return [
        Case(
            name="guided_filter",
            piece=f"guided filter, gray, window {WINDOW}, {ITERATIONS} iterations, {MAPS} x {SIDE} x {SIDE}",
            reference=f"avg_pool2d (1 iteration measured, times {ITERATIONS})",
            run_reference=lambda: pooled(1),
            run_ours=lambda: guided_filter(guide, maps, WINDOW, EPS, ITERATIONS),
            agreement=agreement,
            bar=80,
            reference_times=ITERATIONS,
        )
    ]
