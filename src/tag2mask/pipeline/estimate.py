"""How long a step will take, and how much disk and memory: an estimate from measured costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tag2mask.artifacts import TRAINING_SCRIPTS, find_kind
from tag2mask.artifacts.image_sizes import ImageSizes
from tag2mask.core.layers import value_at
from tag2mask.core.results import MAP_CELL
from tag2mask.pipeline import costs
from tag2mask.pipeline.machine import Machine
from tag2mask.pipeline.plan import StepPlan
from tag2mask.pipeline.work import (
    Sources,
    Work,
    largest_worked,
    predicting,
    train_images,
    train_pixels,
    training,
    validated,
)

_MB = 1e6
_PROCESS_MB, _SLACK = 700.0, 1.2
"""A process with torch and Lightning; and what real runs took over the sum, which both were fitted to."""
_GENERATOR_MB, _GENERATED_MB, _HELD = 1100.0, 270.0, 0.4
"""A process that predicts; a generator's memory by megapixel; the part of a training's memory that a
prediction holds at once: all three from runs on VOC's images and on images of 12 megapixels."""
_BYTES = {"labels": 0.08, "affinity_labels": 0.05, "segmentation": 0.05, "superpixels": 0.5}
"""Bytes of the files of an image, by pixel of it, in the runs on VOC's images; maps are counted exactly."""
_WORKERS = 2
"""Loader processes of a device, unless its settings name another number."""


@dataclass(frozen=True)
class Estimate:
    """What a step takes; None where nothing is known, as with a network that was never measured.

    Attributes:
        step: its name.
        seconds: time.
        disk_mb: disk, checkpoints included.
        memory_mb: peak memory of a process: of the GPU where one is used.
    """

    step: str
    seconds: float | None
    disk_mb: float | None
    memory_mb: float | None


def estimate_step(
    plan: StepPlan, commands: Sequence[str], images: ImageSizes, machine: Machine, sources: Sources
) -> Estimate:
    """The estimate of a step.

    Args:
        plan: the step.
        commands: those of its commands that are to be started.
        images: the data set.
        machine: where it runs.
        sources: settings of the earlier steps that it reads, by the option that names each.
    """
    parts = [_fit(plan, images, machine) for command in commands if command == "fit"]
    parts += [_predict(plan, images, machine, sources) for command in commands if command == "predict"]
    return Estimate(
        plan.step.name,
        _total([part.seconds for part in parts]),
        _total([part.disk_mb for part in parts]),
        max((part.memory_mb for part in parts if part.memory_mb is not None), default=None),
    )


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _fit(plan: StepPlan, images: ImageSizes, machine: Machine) -> Estimate:
    settings = plan.settings
    network = costs.network_cost(value_at(settings, "model.init_args.backbone.name", ""), plan.step.script)
    pixels, more = train_pixels(settings, images), training(plan)
    batch = value_at(settings, "data.init_args.batch_size", 8)
    if network is None or more.network_seconds is None or pixels is None or not isinstance(batch, int):
        return Estimate(plan.step.name, None, None, None)
    low = costs.BFLOAT16 if str(value_at(settings, "trainer.precision", "")).startswith("bf16") else 1.0
    seen = _train_steps(settings, train_images(settings, images), batch) * batch
    megapixels = seen * pixels / _MB
    core_seconds = megapixels * (network.training * low + more.network_seconds)
    core_seconds += validated(settings, images) * network.forward
    beside = (seen * costs.LOADED + megapixels * more.beside) / machine.speed
    network_seconds = _network_seconds(core_seconds, machine, plan)
    states = 2 if "Adam" in str(value_at(settings, "model.init_args.optimization.optimizer", "SGD")) else 1
    activations = network.training_mb * low * batch * pixels / _MB / plan.devices.count
    memory = network.weights_mb * (2 + states) + activations
    return Estimate(
        plan.step.name,
        _with_loading(network_seconds, beside, machine, plan),
        2 * network.weights_mb * (2 + states),  # the last checkpoint and the one before it
        _SLACK * (memory + (0.0 if machine.gpu else _PROCESS_MB)),
    )


def _with_loading(network: float, beside: float, machine: Machine, plan: StepPlan) -> float:
    """Seconds of a training: what is beside the network shares its cores, but works while a GPU does."""
    workers = int(value_at(plan.settings, "data.init_args.num_workers", _WORKERS)) * plan.devices.count
    if machine.gpu:
        return max(network, beside / min(machine.cores, max(1, workers)))
    return network + beside / machine.cores


def _train_steps(settings: Mapping[str, Any], images: int, batch: int) -> int:
    epoch = max(1, images // batch)
    epochs = value_at(settings, "trainer.max_epochs", None)
    most = value_at(settings, "trainer.max_steps", -1)
    steps = [most] if isinstance(most, int) and most > 0 else []
    if isinstance(epochs, int) and epochs > 0:
        steps.append(max(epochs * epoch, value_at(settings, "trainer.min_steps", None) or 0))
    return min(steps, default=0)


def _predict(plan: StepPlan, images: ImageSizes, machine: Machine, sources: Sources) -> Estimate:
    settings = plan.settings
    split = "val" if plan.step.kind == "segmentation" else "train"
    split = value_at(settings, "data.init_args.split", split)
    count = images.counts.get(value_at(settings, "data.init_args.predict_split", split), 0)
    work, seconds = predicting(plan, images, sources), None
    if work.network_seconds is not None:
        # What is not the network takes one core an image, and images are spread over all of them.
        beside = work.beside / machine.cores / machine.speed
        seconds = count * (_network_seconds(work.network_seconds, machine, plan) + beside)
    memory = _predict_memory(plan, images, machine, work)
    return Estimate(plan.step.name, seconds, count * _bytes(plan, images) / _MB, memory)


def _bytes(plan: StepPlan, images: ImageSizes) -> float:
    """Bytes that an image leaves on disk."""
    if find_kind(plan.step.kind).suffix == ".npz":
        return (images.tags + 1) * images.pixels / MAP_CELL**2 * 2
    return _BYTES.get(plan.step.kind, 0.1) * images.pixels


def _predict_memory(plan: StepPlan, images: ImageSizes, machine: Machine, work: Work) -> float | None:
    """Peak memory, that of the largest image; None where a network was never measured."""
    settings, largest = plan.settings, largest_worked(images)
    networks = [network for network, _ in work.passes if network is not None]
    if len(networks) < len(work.passes):
        return None
    tested = value_at(settings, "model.init_args.test.scales", (1.0,))
    most = float(max(value_at(settings, "model.init_args.cam.scales", tested)))
    held = sum(n.weights_mb + _HELD * n.training_mb * largest * most**2 for n in networks)
    if plan.step.script not in TRAINING_SCRIPTS:
        return held + _GENERATOR_MB + _GENERATED_MB * largest
    return held + (0.0 if machine.gpu else _GENERATOR_MB)


def _network_seconds(core_seconds: float, machine: Machine, plan: StepPlan) -> float:
    if machine.gpu:
        return core_seconds / costs.GPU / plan.devices.count
    return core_seconds / machine.speed / machine.cores / (plan.devices.nodes or 1)
