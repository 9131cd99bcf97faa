"""The estimates of a whole run, as a table; and the refusal of a run that clearly does not fit."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tag2mask.artifacts import SETTINGS_NAME
from tag2mask.artifacts.image_sizes import ImageSizes
from tag2mask.core.errors import UserError
from tag2mask.core.tables import NOTHING, Table, duration
from tag2mask.pipeline.estimate import Estimate, estimate_step
from tag2mask.pipeline.machine import Machine, this_machine
from tag2mask.pipeline.plan import StepPlan
from tag2mask.pipeline.tasks import Task
from tag2mask.pipeline.work import Sources

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
    """

    steps: Sequence[Estimate]
    images: ImageSizes
    machine: Machine

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
    return Forecast(steps, images, machine)


def sources_of(plan: StepPlan, planned: Mapping[Path, Mapping[str, Any]]) -> Sources:
    """Settings of the steps that a step reads: as they are planned, or as they were made before.

    Args:
        plan: the step.
        planned: folder of a step -> its settings.
    """
    return {option: planned.get(folder) or _settings_of(folder) for option, folder in plan.inputs.items()}


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


def _settings_of(folder: Path) -> dict[str, Any]:
    """Settings of a step that was made before; {} where there are none, or they are broken."""
    try:
        plain = yaml.safe_load((folder / SETTINGS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):  # an estimate can do without
        return {}
    return plain if isinstance(plain, dict) else {}


def _cores(count: int) -> str:
    return "1 CPU core" if count == 1 else f"{count} CPU cores"


def _time(seconds: float | None) -> str:
    return NOTHING if seconds is None else duration(seconds)


def _size(megabytes: float | None) -> str:
    if megabytes is None:
        return NOTHING
    return f"{megabytes / 1024:.1f} GB" if megabytes >= 1024 else f"{megabytes:.0f} MB"
