"""Reads what a run folder holds: its settings, its steps in order, their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tag2mask.artifacts import (
    CAM_THRESHOLD,
    RUN_NAME,
    Manifest,
    config_name,
    read_alarms,
    read_image_scores,
    read_json,
    read_manifest,
    read_metrics,
    read_score,
    read_scorecard,
)
from tag2mask.core import Alarm, UserError
from tag2mask.core.pages import read_page


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


def read_config(step: Step) -> dict[str, Any]:
    """The resolved configuration that a step was trained (or else predicted) with; {} if none was saved.

    Raises:
        UserError: it is not valid YAML.
    """
    for command in ("fit", "predict"):
        path = step.folder / config_name(command)
        if path.is_file():
            return read_page(path).plain
    return {}


def _read_run(folder: Path, name: str) -> Run:
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder of a run")
    steps = []
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        if inner.name.endswith(".previous"):  # what a step held before it was made again
            continue
        manifest = read_manifest(inner)
        if manifest is not None:
            steps.append(Step(inner.name, inner, manifest, read_score(inner)))
    if not steps:
        raise UserError(f"{folder} holds no step of a run (no folder in it has a manifest.json)")
    return Run(name, folder, read_json(folder / RUN_NAME) or {}, _in_order(steps), _paper(folder))


def _paper(folder: Path) -> dict[str, float]:
    """The paper's numbers, which the runner leaves in the scorecard."""
    targets = (read_scorecard(folder).get("paper") or {}).get("targets") or {}
    return {name: float(value) for name, value in targets.items() if isinstance(value, int | float)}


def _in_order(steps: list[Step]) -> list[Step]:
    ordered: list[Step] = []
    waiting = list(steps)
    while waiting:
        names = {step.name for step in waiting}
        ready = [step for step in waiting if not names & (set(step.manifest.parents) - {step.name})]
        # manifests written by hand may name each other: then the order of names has to do
        chosen = ready[0] if ready else waiting[0]
        ordered.append(chosen)
        waiting.remove(chosen)
    return ordered
