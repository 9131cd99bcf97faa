"""Every option that a measurement gives to a step: the one place to change when a name changes."""

from __future__ import annotations

import os

RESNET38_STEPS: dict[str, str] = {
    "cam": "--trainer.max_epochs 4 --trainer.limit_val_batches 0",
    "affinity": "--trainer.max_epochs 2",
    "segmentation": "--trainer.max_steps 36 --trainer.limit_val_batches 0",
}
"""psa at the paper's sizes: crops of 448, batches of 16, 8 and 10, some thirty training steps."""

LONG_SEGMENTATION = (
    "--trainer.max_epochs 12 --trainer.check_val_every_n_epoch 12 --model.init_args.poly_power 0.9"
)
"""The small budget's segmentation network with three times its epochs."""

TINY_STEPS: dict[str, str] = {
    "cam": "--trainer.max_epochs 2 --trainer.limit_val_batches 0",
    "affinity": "--trainer.max_epochs 2",
    "segmentation": "--trainer.max_epochs 2 --trainer.limit_val_batches 0",
}
"""The same with the tiny budget, to rehearse without a GPU."""


def workers() -> str:
    """As many loader processes as the machine has cores for."""
    count = max(1, min(12, len(os.sched_getaffinity(0)) - 2))
    return f"--data.init_args.num_workers {count}"


def trainer(device: str, precision: str) -> str:
    """Device and precision."""
    accelerator = "gpu" if device == "cuda" else "cpu"
    return f"--trainer.accelerator {accelerator} --trainer.precision {precision}"


def meter(path: str, step: str, skip: int) -> list[str]:
    """The callback that measures a step."""
    name = "--trainer.callbacks"
    return [
        f"{name}+=benchmarks.gpu.meter.Meter",
        f"{name}.init_args.path={path}",
        f"{name}.init_args.step={step}",
        f"{name}.init_args.skip={skip}",
    ]
