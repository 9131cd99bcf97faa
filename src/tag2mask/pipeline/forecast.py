"""The estimates of a whole run, as a table; and the refusal of a run that clearly does not fit."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tag2mask.artifacts.image_sizes import ImageSizes
from tag2mask.artifacts.run_folder import known_settings
from tag2mask.core.errors import UserError
from tag2mask.core.tables import NOTHING, Table, duration
from tag2mask.pipeline.devices import check_batches
from tag2mask.pipeline.estimate import Estimate, estimate_step
from tag2mask.pipeline.machine import Machine, this_machine
from tag2mask.pipeline.plan import StepPlan
from tag2mask.pipeline.tasks import Task
from tag2mask.pipeline.work import Sources, train_images

_SCRATCH_MB = 50.0
"""Logs, lists of sources and the report."""


class MeasuringKilled(UserError):
    """A signal has ended ``tag2mask data sizes``.

    Attributes:
        code: 128 and its number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(
            f"the sizes of the images could not be read: 'tag2mask data sizes' was killed by signal {number}"
        )
        self.code = 128 + number


@dataclass(frozen=True)
class Forecast:
    """The estimates of the steps that are to be made.

    Attributes:
        steps: one for each, in order.
        images: the data set.
        machine: where they are made.
        unshared: what to say of batches that cannot be shared out among the devices; "" for nothing.
    """

    steps: Sequence[Estimate]
    images: ImageSizes
    machine: Machine
    unshared: str = ""

    @property
    def disk_mb(self) -> float:
        """Disk of all steps, as far as it is known."""
        return _SCRATCH_MB + sum(step.disk_mb or 0.0 for step in self.steps)

    @property
    def memory_mb(self) -> float:
        """Peak memory of the largest step."""
        return max((step.memory_mb or 0.0 for step in self.steps), default=0.0)

    @property
    def seconds(self) -> float:
        """Time of all steps, as far as it is known."""
        return sum(step.seconds or 0.0 for step in self.steps)

    def line(self) -> str:
        """The sums in one line."""
        unknown = [step.step for step in self.steps if step.seconds is None]
        without = f" without {', '.join(unknown)}, whose network was never measured" if unknown else ""
        return (
            f"estimate: {duration(self.seconds)}, {_size(self.disk_mb)} of disk, "
            f"{_size(self.memory_mb)} of {self._memory_name()}{without}"
        )

    def table(self) -> Table:
        """A row for each step."""
        rows = [[s.step, _time(s.seconds), _size(s.disk_mb), _size(s.memory_mb)] for s in self.steps]
        total = [["all", duration(self.seconds), _size(self.disk_mb), _size(self.memory_mb)]]
        images, machine = self.images, self.machine
        counts = " and ".join(f"{n} {split}" for split, n in images.counts.items())
        where = f"a {machine.gpu}, taken for an H200" if machine.gpu else _cores(machine.cores)
        note = (
            f"Estimates for {counts} images of {images.pixels / 1e6:.2f} megapixels (headers of "
            f"{images.sampled} read) on {where}: docs/scaling.md says how."
        )
        return Table(["step", "time", "disk", "memory"], rows, note=note, foot=total)

    def require_fit(self) -> None:
        """Refuse a run that clearly does not fit.

        Raises:
            UserError: with the numbers, and what to do.
        """
        if self.unshared:
            raise UserError(self.unshared)
        wrong, machine = list[str](), self.machine
        if self.disk_mb > machine.disk_mb:
            wrong.append(
                f"the run leaves about {_size(self.disk_mb)} and {_size(machine.disk_mb)} are free there: "
                "make room or give another --run-dir"
            )
        has = machine.gpu_memory_mb if machine.gpu else machine.memory_mb
        if has and self.memory_mb > has:
            most = max(self.steps, key=lambda step: step.memory_mb or 0.0)
            wrong.append(
                f"step {most.step} takes about {_size(self.memory_mb)} of {self._memory_name()}, there are "
                f"{_size(has)}: give --{most.step}.trainer.accumulate_grad_batches 2 or more, which keeps "
                "the batch, or smaller crops, a lighter --backbone, or --budget small"
            )
        if wrong:
            raise UserError("\n".join([*wrong, "nothing was started; --no-check goes on all the same"]))

    def _memory_name(self) -> str:
        return "GPU memory" if self.machine.gpu else "memory"


def forecast(tasks: Sequence[Task], images: ImageSizes, run_dir: Path) -> Forecast:
    """Estimate the steps of a run that are to be made, for this machine."""
    machine = this_machine(run_dir)
    planned = {task.plan.folder: task.plan.settings for task in tasks}
    steps = []
    for task in tasks:
        if task.commands:
            sources = sources_of(task.plan, planned)
            steps.append(estimate_step(task.plan, task.commands, images, machine, sources))
    return Forecast(steps, images, machine, _unshared(tasks, images))


def _unshared(tasks: Sequence[Task], images: ImageSizes) -> str:
    """A batch has no more images than the data set: few of them may not be shared out as it could."""
    plans = {task.plan.step.name: task.plan for task in tasks if "fit" in task.commands}
    counts = {name: train_images(plan.settings, images) for name, plan in plans.items()}
    try:
        check_batches({name: (plan.settings, plan.devices) for name, plan in plans.items()}, counts)
    except UserError as error:
        return str(error)
    return ""


def sources_of(plan: StepPlan, planned: Mapping[Path, Mapping[str, Any]]) -> Sources:
    """Settings of the steps that a step reads: as they are planned, or as they were made before.

    Args:
        plan: the step.
        planned: folder of a step -> its settings.
    """
    return {option: planned.get(folder) or known_settings(folder) for option, folder in plan.inputs.items()}


def sizes_of(words: Sequence[str]) -> ImageSizes:
    """What ``tag2mask data sizes`` tells of a data set.

    Raises:
        MeasuringKilled: a signal has ended it.
        UserError: it could not; in its own words.
    """
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode < 0:
        raise MeasuringKilled(-done.returncode)
    if done.returncode:
        raise UserError(done.stderr.strip().removeprefix("error: ") or f"exit code {done.returncode}")
    return ImageSizes.parse(done.stdout)


def _cores(count: int) -> str:
    return "1 CPU core" if count == 1 else f"{count} CPU cores"


def _time(seconds: float | None) -> str:
    return NOTHING if seconds is None else duration(seconds)


def _size(megabytes: float | None) -> str:
    if megabytes is None:
        return NOTHING
    return f"{megabytes / 1024:.1f} GB" if megabytes >= 1024 else f"{megabytes:.0f} MB"
