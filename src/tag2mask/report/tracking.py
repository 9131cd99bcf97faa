"""Brings what steps left to Weights & Biases: scores, tables, pictures with masks, artifacts with lineage."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import wandb

from tag2mask.artifacts import SCORE_NAME, manifest_hash, wandb_identity, wandb_mode, wandb_project
from tag2mask.artifacts.manifest import MANIFEST_NAME
from tag2mask.artifacts.tracking import WANDB_PROJECT
from tag2mask.core import IGNORE, LabelsResult, ScoreMaps, UserError
from tag2mask.core.results import cut_maps
from tag2mask.data import ImageSet
from tag2mask.report.choice import choose_images, is_shown
from tag2mask.report.gallery import SIDE
from tag2mask.report.pictures import RGB, resize_labels, resize_map, shrink
from tag2mask.report.runs import Run, Step

_LONGEST_NAME = 128
"""Letters of an artifact's name."""
NUMBERS = ("miou", "best_miou", "precision", "coverage", "threshold", "best_threshold")


@dataclass(frozen=True)
class Tracker:
    """Where to log to.

    Attributes:
        project: wandb project.
        offline: true or false; None as `wandb_mode` has it.
        images: pictures per step.
        more: further arguments of ``wandb.init``.
    """

    project: str = WANDB_PROJECT
    offline: bool | None = None
    images: int = 8
    more: dict[str, Any] = field(default_factory=dict)

    def open(self, **identity: Any) -> Any:
        """A wandb run, new or gone on with.

        Raises:
            UserError: wandb refuses the account, or a name.
        """
        project, mode = wandb_project(self.project), wandb_mode(self.offline)
        quiet = wandb.Settings(silent=True)
        try:
            return wandb.init(project=project, mode=mode, settings=quiet, **{**identity, **self.more})
        except wandb.Error as error:
            raise UserError(
                f"Weights & Biases: {error}; mend that, or write files only (--offline, WANDB_MODE=offline)"
            ) from error


def log_run(run: Run, tracker: Tracker) -> list[str]:
    """Log every finished step of a run to its own wandb run, inputs before what is made from them.

    Returns:
        what could not be logged, in sentences.
    """
    notes: list[str] = []
    for step in run.steps:
        if step.manifest.complete:
            notes += _log_step(run, step, tracker)
    return list(dict.fromkeys(notes))


def log_trial(run: Run, tracker: Tracker) -> None:
    """Log the scores of all steps to one wandb run, which is that of a sweep's agent if one is at work."""
    config = {step.name: wandb_identity(step.folder)["config"] for step in run.steps}
    agent = {"id": os.environ["WANDB_RUN_ID"]} if "WANDB_RUN_ID" in os.environ else {}
    with tracker.open(name=run.name, dir=str(run.folder), config=config, **agent) as tracked:
        tracked.log({f"{step.name}/{key}": value for step in run.steps for key, value in _numbers(step)})


def _log_step(run: Run, step: Step, tracker: Tracker) -> list[str]:
    notes: list[str] = []
    with tracker.open(**wandb_identity(step.folder), dir=str(step.folder)) as tracked:
        tracked.summary.update({f"score/{key}": value for key, value in _numbers(step)} | _costs(step))
        tables = {"classes": _class_table(step)} if step.scored else {}
        panels: list[Any] = []
        if is_shown(step):
            try:
                panels = list(_panels(run, step, tracker.images))
            except UserError as error:
                notes.append(f"no pictures of {step.name}: {error}")
        logged = {**tables, **({"images": panels} if panels else {})}
        if logged:
            tracked.log(logged)
        _log_artifact(tracked, run, step)
    return notes


def _numbers(step: Step) -> Iterator[tuple[str, float]]:
    """Names and values of a step's scores; those of further ways to predict below their names."""
    score = step.score or {}
    parts = [("", score), *((f"{name}/", part) for name, part in (score.get("variants") or {}).items())]
    for prefix, part in parts:
        for name in NUMBERS:
            if isinstance(part.get(name), int | float):
                yield f"{prefix}{name}", float(part[name])


def _costs(step: Step) -> dict[str, float]:
    found: dict[str, float] = {}
    for command, record in step.manifest.commands.items():
        found[f"cost/{command}_seconds"] = record.seconds
        found[f"cost/{command}_peak_memory_mb"] = record.peak_memory_mb
    predict = step.manifest.commands.get("predict")
    if predict and predict.seconds and step.manifest.image_ids:
        found["speed/predict_images_per_s"] = len(step.manifest.image_ids) / predict.seconds
    return found


def _class_table(step: Step) -> Any:
    rows = [[name, iou] for name, iou in ((step.score or {}).get("per_class") or {}).items()]
    return wandb.Table(columns=["class", "IoU"], data=rows)


def _panels(run: Run, step: Step, count: int) -> Iterator[Any]:
    dataset = ImageSet.from_description(step.manifest.data, origin=step.folder)
    classes = step.manifest.class_list()
    names = {**dict(zip(classes.all_ids, classes.all_names, strict=True)), IGNORE: "unknown"}
    only = Run(run.name, run.folder, steps=[step])
    for _, image_id in choose_images([only], count):
        image = shrink(dataset.read_image(image_id), SIDE)
        size = image.shape[0], image.shape[1]
        ids = {step.name: _label_ids(step, image_id, image)}
        truth = dataset.read_mask(image_id)
        if truth is not None:
            ids["truth"] = resize_labels(classes.to_ids(truth), size)
        masks = {name: {"mask_data": mask, "class_labels": names} for name, mask in ids.items()}
        yield wandb.Image(image, caption=image_id, masks=masks)


def _label_ids(step: Step, image_id: str, image: RGB) -> npt.NDArray[np.uint8]:
    size = image.shape[0], image.shape[1]
    classes = step.manifest.class_list()
    result = step.result(image_id)
    if isinstance(result, ScoreMaps) and len(result.maps):
        maps = [resize_map(values, size) for values in result.maps]
        return classes.to_ids(cut_maps(np.stack(maps), result.classes, step.cam_threshold))
    if isinstance(result, LabelsResult):
        return resize_labels(classes.to_ids(next(iter(result.labels.values()))), size)
    return np.zeros(size, np.uint8)  # an image without a tag has no map: all background


def _log_artifact(tracked: Any, run: Run, step: Step) -> None:
    """The step's manifest and score, and which artifacts they came from.

    The results themselves stay in the run folder: the manifest names each of them, with hashes of the inputs.
    """
    facts = step.manifest
    metadata = {
        "recipe": facts.recipe, "split": facts.split, "images": len(facts.image_ids), "commit": facts.commit,
        "versions": facts.versions, "inputs": facts.parents, "manifest": manifest_hash(step.folder),
    }  # fmt: skip
    artifact = wandb.Artifact(_artifact_name(run, step.name), type=facts.kind, metadata=metadata)
    for name in (MANIFEST_NAME, SCORE_NAME):
        if (step.folder / name).is_file():
            artifact.add_file(str(step.folder / name))
    if not tracked.offline:  # wandb knows no other artifacts offline: there the metadata name the inputs
        for parent in facts.parents:
            tracked.use_artifact(f"{_artifact_name(run, parent)}:latest")
    tracked.log_artifact(artifact)


def _artifact_name(run: Run, step: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", run.folder.resolve().name)
    return f"{plain[: _LONGEST_NAME - len(step) - 1]}-{step}"
