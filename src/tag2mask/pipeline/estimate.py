"""How long a step will take, and how much disk and memory: an estimate from measured costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tag2mask.artifacts import TRAINING_SCRIPTS, find_kind
from tag2mask.artifacts.image_sizes import ImageSizes
from tag2mask.pipeline import costs
from tag2mask.pipeline.machine import Machine
from tag2mask.pipeline.plan import StepPlan

_MB = 1e6
_LARGEST = 2e6
"""Pixels that images are worked on at most (`tag2mask.modules.Predictor`)."""
_PROCESS_MB, _SLACK = 700.0, 1.2
"""A process with torch and Lightning; and what real runs took over the sum, which both were fitted to."""
_GENERATOR_MB, _GENERATED_MB, _HELD = 1100.0, 270.0, 0.4
"""A process that predicts; a generator's memory by megapixel; the part of a training's memory that a
prediction holds at once: all three from runs on VOC's images and on images of 12 megapixels."""
_BYTES = {"labels": 0.08, "affinity_labels": 0.05, "segmentation": 0.05, "superpixels": 0.5}
"""Bytes of the files of an image, by pixel of it, in the runs on VOC's photos; maps are counted exactly."""
_GRID = 8
"""Pixels a side of a cell of stored maps."""
_WORKERS = 2
"""Loader processes of a device, unless its settings name another number."""
_MERGED = 0.55
"""Time of stage 1's prediction, whose network is merged and works in one pass per size, over a plain one."""


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
    plan: StepPlan, commands: Sequence[str], images: ImageSizes, machine: Machine, walked_on: str = ""
) -> Estimate:
    """The estimate of a step.

    Args:
        plan: the step.
        commands: those of its commands that are to be started.
        images: the data set.
        machine: where it runs.
        walked_on: backbone of the AffinityNet that the step loads, "" for none.
    """
    parts = [_fit(plan, images, machine) for command in commands if command == "fit"]
    parts += [_predict(plan, images, machine, walked_on) for command in commands if command == "predict"]
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
    network = costs.network_cost(_get(settings, "model.init_args.backbone.name", ""), plan.step.script)
    crop = _get(settings, "data.init_args.augment.crop", None)
    batch = _get(settings, "data.init_args.batch_size", 8)
    if network is None or not isinstance(crop, int) or not isinstance(batch, int):
        return Estimate(plan.step.name, None, None, None)
    low = costs.BFLOAT16 if str(_get(settings, "trainer.precision", "")).startswith("bf16") else 1.0
    megapixels = _train_steps(settings, images, batch) * batch * crop**2 / _MB
    core_seconds = megapixels * network.training * low + _validated(settings, images) * network.forward
    loading = megapixels * _MB / crop**2 * costs.LOADED / machine.speed
    network_seconds = _network_seconds(core_seconds, machine, plan)
    states = 2 if "Adam" in str(_get(settings, "model.init_args.optimization.optimizer", "SGD")) else 1
    activations = network.training_mb * low * batch * crop**2 / _MB / plan.devices.count
    memory = network.weights_mb * (2 + states) + activations
    return Estimate(
        plan.step.name,
        _with_loading(network_seconds, loading, machine, plan),
        2 * network.weights_mb * (2 + states),  # the last checkpoint and the one before it
        _SLACK * (memory + (0.0 if machine.gpu else _PROCESS_MB)),
    )


def _with_loading(network: float, loading: float, machine: Machine, plan: StepPlan) -> float:
    """Seconds of a training: loaders share the cores with the network, but work while a GPU does."""
    workers = int(_get(plan.settings, "data.init_args.num_workers", _WORKERS)) * plan.devices.count
    if machine.gpu:
        return max(network, loading / min(machine.cores, max(1, workers)))
    return network + loading / machine.cores


def _train_steps(settings: Mapping[str, Any], images: ImageSizes, batch: int) -> int:
    epoch = max(1, images.counts.get("train", 0) // batch)
    epochs = _get(settings, "trainer.max_epochs", None)
    most = _get(settings, "trainer.max_steps", -1)
    steps = [most] if isinstance(most, int) and most > 0 else []
    if isinstance(epochs, int) and epochs > 0:
        steps.append(max(epochs * epoch, _get(settings, "trainer.min_steps", None) or 0))
    return min(steps, default=0)


def _validated(settings: Mapping[str, Any], images: ImageSizes) -> float:
    """Megapixels that go through the network in all validations."""
    if _get(settings, "trainer.limit_val_batches", 1) == 0:
        return 0.0
    epochs = _get(settings, "trainer.max_epochs", None) or 1
    times = max(1, epochs // (_get(settings, "trainer.check_val_every_n_epoch", None) or 1))
    side = _get(settings, "data.init_args.eval_long_side", None)
    side = side or _get(settings, "model.init_args.test.long_side", None)
    return times * images.counts.get("val", 0) * _worked(images, side) / _MB


def _predict(plan: StepPlan, images: ImageSizes, machine: Machine, walked_on: str) -> Estimate:
    settings = plan.settings
    split = "val" if plan.step.kind == "segmentation" else "train"
    split = _get(settings, "data.init_args.split", split)
    count = images.counts.get(_get(settings, "data.init_args.predict_split", split), 0)
    core, cores = _core_work(plan, images, walked_on)
    seconds = None
    if core is not None:
        # What is not the network takes one core an image, and images are spread over all of them.
        seconds = count * (_network_seconds(core, machine, plan) + cores / machine.cores / machine.speed)
    return Estimate(
        plan.step.name, seconds, count * _bytes(plan, images) / _MB, _predict_memory(plan, images, machine)
    )


def _core_work(plan: StepPlan, images: ImageSizes, walked_on: str) -> tuple[float | None, float]:
    """Seconds an image on one core: of networks (None where one is not known), and of all else."""
    settings, size = plan.settings, _worked(images, None) / _MB
    names = list(_class_names(settings.get("model", {})))
    others = names.count("DenseCRF") * costs.CRF + names.count("SuperpixelGenerator") * costs.SUPERPIXELS
    others = others * size + costs.WRITTEN
    if plan.step.script in TRAINING_SCRIPTS:
        network = costs.network_cost(_get(settings, "model.init_args.backbone.name", ""), plan.step.script)
        core = None if network is None else network.forward * _passes(settings, images)
        others += costs.CRF * size if plan.step.kind == "segmentation" else 0.0
        return core, others
    if "RandomWalk" not in names:
        return 0.0, others
    network = costs.network_cost(walked_on, "affinity")
    return (None if network is None else network.forward * size), others + costs.WALK * size


def _passes(settings: Mapping[str, Any], images: ImageSizes) -> float:
    """Megapixels of an image in all its sizes, mirrored and not; merged networks count for less."""
    if cam := _get(settings, "model.init_args.cam.scales", None):
        return _MERGED * _scaled(cam, _get(settings, "model.init_args.cam.flip", True), _worked(images, None))
    scales = _get(settings, "model.init_args.test.scales", (1.0,))
    size = _worked(images, _get(settings, "model.init_args.test.long_side", None))
    return _scaled(scales, _get(settings, "model.init_args.test.flip", True), size) + size / _MB


def _scaled(scales: Sequence[float], flip: bool, pixels: float) -> float:
    return sum(scale**2 for scale in scales) * (2 if flip else 1) * pixels / _MB


def _worked(images: ImageSizes, long_side: int | None) -> float:
    """Pixels at which an image is worked on, in the mean."""
    return min(images.pixels, _LARGEST) * ((long_side / images.long_side) ** 2 if long_side else 1.0)


def _bytes(plan: StepPlan, images: ImageSizes) -> float:
    """Bytes that an image leaves on disk."""
    if find_kind(plan.step.kind).suffix == ".npz":
        return (images.tags + 1) * images.pixels / _GRID**2 * 2
    return _BYTES.get(plan.step.kind, 0.1) * images.pixels


def _predict_memory(plan: StepPlan, images: ImageSizes, machine: Machine) -> float | None:
    """Peak memory, that of the largest image; None where the network was never measured."""
    settings, largest = plan.settings, min(images.largest, _LARGEST) / _MB
    if plan.step.script not in TRAINING_SCRIPTS:
        return _GENERATOR_MB + _GENERATED_MB * largest
    network = costs.network_cost(_get(settings, "model.init_args.backbone.name", ""), plan.step.script)
    if network is None:
        return None
    tested = _get(settings, "model.init_args.test.scales", (1.0,))
    most = float(max(_get(settings, "model.init_args.cam.scales", tested)))
    held = network.weights_mb + _HELD * network.training_mb * largest * most**2
    return held + (0.0 if machine.gpu else _GENERATOR_MB)


def _network_seconds(core_seconds: float, machine: Machine, plan: StepPlan) -> float:
    if machine.gpu:
        return core_seconds / costs.GPU / plan.devices.count
    return core_seconds / machine.speed / machine.cores / (plan.devices.nodes or 1)


def _class_names(plain: Any) -> Iterator[str]:
    """The last parts of all ``class_path`` in nested settings."""
    if isinstance(plain, Mapping):
        yield from (str(v).rpartition(".")[2] for k, v in plain.items() if k == "class_path")
        plain = list(plain.values())
    if isinstance(plain, list):
        for value in plain:
            yield from _class_names(value)


def _get(settings: Mapping[str, Any], path: str, default: Any) -> Any:
    value: Any = settings
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return default
        value = value[key]
    return value
