"""Every option that a measurement gives to a step: the one place to change when a name changes."""

from __future__ import annotations

from collections.abc import Mapping

from tag2mask.core import usable_cpus

_STILL = {"model.init_args.optimization.lr": "1e-7"}
"""The paper's rate needs the paper's weights: from random ones ResNet38 ends in NaN."""
_NO_VAL = {"trainer.limit_val_batches": "0"}

RESNET38_STEPS: dict[str, dict[str, str]] = {
    "cam": {"trainer.max_epochs": "2", **_NO_VAL, **_STILL},
    "affinity": {"trainer.max_epochs": "1", **_STILL},
    "segmentation": {"trainer.max_steps": "36", **_NO_VAL, **_STILL},
}
"""psa at the paper's sizes: crops of 448, batches of 16, 8 and 10, some forty training steps."""

LONG_SEGMENTATION: dict[str, dict[str, str]] = {
    "segmentation": {
        "trainer.max_epochs": "12",
        "trainer.check_val_every_n_epoch": "12",
        "model.init_args.optimization.poly_power": "0.9",
    }
}
"""The small budget's segmentation network with three times its epochs."""

TINY_STEPS: dict[str, dict[str, str]] = {
    "cam": {"trainer.max_epochs": "2", **_NO_VAL},
    "affinity": {"trainer.max_epochs": "2"},
    "segmentation": {"trainer.max_epochs": "2", **_NO_VAL},
}
"""The same with the tiny budget, to rehearse without a GPU."""


def workers() -> str:
    """As many loader processes as the machine has cores for."""
    count = max(1, min(12, usable_cpus() - 2))
    return f"--data.init_args.num_workers {count}"


def trainer(device: str, precision: str) -> str:
    """Device and precision."""
    accelerator = "gpu" if device == "cuda" else "cpu"
    return f"--trainer.accelerator {accelerator} --trainer.precision {precision}"


def meter(path: str, skip: int) -> list[str]:
    """The callback that measures a step."""
    name = "--trainer.callbacks"
    return [
        f"{name}+=benchmarks.gpu.meter.Meter",
        f"{name}.init_args.path={path}",
        f"{name}.init_args.skip={skip}",
    ]


def for_steps(options: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Settings of single steps as words of `tag2mask run`."""
    return [
        word
        for step, settings in options.items()
        for name, value in settings.items()
        for word in (f"--{step}.{name}", value)
    ]
