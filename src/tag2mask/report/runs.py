"""Reads what a run folder holds: its settings, its steps in order, their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tag2mask.artifacts import (
    CAM_THRESHOLD,
    RUN_NAME,
    Manifest,
    find_kind,
    read_alarms,
    read_image_scores,
    read_json,
    read_metrics,
    read_score,
    read_scorecard,
)
from tag2mask.artifacts.label_chain import is_tunable
from tag2mask.artifacts.run_folder import read_manifests
from tag2mask.core import Alarm


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        name: the folder's name.
        folder: the step's folder.
        manifest: what it holds and how it was made.
        score: its ``score.json``, or None where it was not scored yet.
    """

    name: str
    folder: Path
    manifest: Manifest
    score: dict[str, Any] | None = None

    @property
    def scored(self) -> bool:
        """Whether there are numbers."""
        return bool(self.score and self.score.get("scored"))

    @property
    def image_scores(self) -> dict[str, float]:
        """Mean IoU of each image in [0, 1]; empty where images were not scored one by one."""
        return read_image_scores(self.folder) if self.scored else {}

    @property
    def cam_threshold(self) -> float:
        """Background threshold of maps without a background channel: that of the score, or of the step."""
        noted = read_metrics(self.folder).get("cam_threshold", CAM_THRESHOLD)
        return float((self.score or {}).get("threshold") or noted)

    def result(self, image_id: str) -> Any:
        """What it made of an image, as its kind reads it.

        Raises:
            UserError: the file is missing or broken.
        """
        kind = find_kind(self.manifest.kind)
        return kind.load(self.folder / "out", image_id, self.manifest.class_list())

    @property
    def alarms(self) -> list[Alarm]:
        """What is suspicious about it: empty labels, a network that says background everywhere, ..."""
        return read_alarms(self.folder)


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        name: short name for headings, different for each run of a report.
        folder: the run's folder.
        settings: ``run.json`` as it is; empty for steps that were started by hand.
        steps: the steps that have a manifest, inputs before what is made from them.
        paper: mIoU in percent that the paper gives for a step, by its name.
    """

    name: str
    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    paper: dict[str, float] = field(default_factory=dict)

    @cached_property
    def tunable(self) -> bool:
        """Whether `tag2mask tune` works on it."""
        return is_tunable(self.folder)

    @property
    def called(self) -> Path:
        """The folder in the commands of a page: as it was given, of an absolute path the name alone.

        A page is sent to others, whom the folders of this machine do not concern.
        """
        return Path(self.folder.name) if self.folder.is_absolute() else self.folder

    def advice(self, alarm: Alarm, name: str | Path) -> str:
        """What to do about an alarm, with commands in which the run is called by a name."""
        return alarm.advice(name, tunes=bool(alarm.tuned) and self.tunable)

    def step(self, name: str) -> Step | None:
        """The step of that name, or None."""
        return next((step for step in self.steps if step.name == name), None)


def title_of(step: Step, run: Run, runs: Sequence[Run]) -> str:
    """The name of a step in a table or chart of some runs: after its run's, where there are several."""
    return f"{run.name}: {step.name}" if len(runs) > 1 else step.name


def read_runs(folders: Sequence[str | Path]) -> list[Run]:
    """Read run folders.

    Raises:
        UserError: a folder is missing, holds no step, or one of its files is broken.
    """
    paths = [Path(folder) for folder in folders]
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return [_read_run(path, name) for path, name in zip(paths, names, strict=True)]


def _read_run(folder: Path, name: str) -> Run:
    steps = [
        Step(step, folder / step, manifest, read_score(folder / step))
        for step, manifest in read_manifests(folder).items()
    ]
    return Run(name, folder, read_json(folder / RUN_NAME) or {}, steps, _paper(folder))


def _paper(folder: Path) -> dict[str, float]:
    """The paper's numbers, which the runner leaves in the scorecard."""
    targets = (read_scorecard(folder).get("paper") or {}).get("targets") or {}
    return {name: float(value) for name, value in targets.items() if isinstance(value, int | float)}
