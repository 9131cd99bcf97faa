"""Scores what a step of a run left on disk, and writes ``score.json`` beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tag2mask.artifacts import (
    CAM_THRESHOLD,
    IMAGE_SCORES_NAME,
    SCORE_NAME,
    SCORE_SOURCES_NAME,
    VARIANTS,
    Manifest,
    atomic_write_json,
    find_kind,
    load_labels,
    note_sources,
    read_metrics,
    require_step,
    safe_join,
)
from tag2mask.core import UserError, training_alarms
from tag2mask.data import ImageSet
from tag2mask.evaluate.alarms import step_alarms
from tag2mask.evaluate.facts import label_facts
from tag2mask.evaluate.labels import score_folder
from tag2mask.evaluate.loop import load_ahead
from tag2mask.evaluate.maps import score_maps
from tag2mask.evaluate.scores import Labels, LabelTally
from tag2mask.evaluate.truth import read_truth, scored_images
from tag2mask.ops import affinity_labels


@dataclass(frozen=True)
class Scored:
    """What a scorer reads: the results of a step for the images that have masks."""

    out: Path
    dataset: ImageSet
    ids: list[str]
    split: str
    threshold: float


def score_step(step_dir: str | Path, every_image: bool = False) -> dict[str, Any]:
    """Score a finished step and write ``<step>/score.json``.

    The kind of the step says what is read: score maps, label maps (unknown pixels ignored, with their
    coverage), the labels of an AffinityNet, or the predictions of a segmentation network in each of its
    variants. The mean IoU of each image goes into ``<step>/image_scores.json``; none for maps that are cut at
    a threshold.

    Args:
        step_dir: a step's folder, with its manifest.
        every_image: score all images that the step has results for, not those alone that the data set
            names for it (`ImageSet.scored_ids`).

    Returns:
        what was written to ``score.json``: ``{"scored": True, "miou": ..., "per_class": ..., ...}``, or
        ``{"scored": False, "why": ...}`` where there are no masks or nothing to compare with them.

    Raises:
        UserError: the step is not complete, or a file of it or a mask is missing or broken.
    """
    folder = Path(step_dir)
    manifest = require_step(folder)
    metrics = read_metrics(folder)
    facts = {"kind": manifest.kind, "split": manifest.split, "metrics": metrics}
    scorer = find_kind(manifest.kind).scored_as
    if scorer is None:
        alarms = {"alarms": [alarm.to_dict() for alarm in training_alarms(metrics)]}
        score = _not_scored(f"a step of kind {manifest.kind} leaves no label maps") | facts | alarms
    else:
        score = _score(folder, manifest, SCORERS[scorer], facts, every_image)
    # apart: a data set has many images, and score.json is read by people too
    atomic_write_json(folder / IMAGE_SCORES_NAME, score.pop("per_image", {}))
    atomic_write_json(folder / SCORE_NAME, score)
    return score


def _not_scored(why: str) -> dict[str, Any]:
    return {"scored": False, "why": why}


def _score(
    folder: Path, manifest: Manifest, scorer: Scorer, facts: dict[str, Any], every_image: bool
) -> dict[str, Any]:
    dataset = ImageSet.from_description(manifest.data, origin=folder)
    if dataset.classes != manifest.class_list():
        raise UserError(f"{folder} was made for other classes than its data set has now: run the step again")
    threshold = float(facts["metrics"].get("cam_threshold", CAM_THRESHOLD))
    facts |= _seen(folder, manifest, dataset, facts["metrics"], threshold)
    ids = scored_images(dataset, manifest, every_image)
    if not ids:
        _require_images(folder, dataset, manifest.image_ids)
        return _not_scored("the data set has no masks for these images") | {"masks": 0} | facts
    for name in (SCORE_NAME, SCORE_SOURCES_NAME):  # a stopped call must not leave an old score
        (folder / name).unlink(missing_ok=True)
    note_sources(folder / SCORE_SOURCES_NAME, [path for i in ids if (path := dataset.mask_path(i))])
    scored = Scored(folder / "out", dataset, ids, manifest.split, threshold)
    return {"scored": True, **facts, **scorer(scored)}


def _require_images(folder: Path, dataset: ImageSet, image_ids: Sequence[str]) -> None:
    """Refuse a data set that is not where it was: its masks are not gone, and an old score stays."""
    image = next((dataset.image_path(i) for i in image_ids), None)
    if image is not None and not image.exists():
        raise UserError(
            f"the data set that the manifest of {folder} names is not there (no {image}): bring it back to "
            "where it was, then score again"
        )


def _seen(
    folder: Path, manifest: Manifest, dataset: ImageSet, metrics: dict[str, Any], threshold: float
) -> dict[str, Any]:
    """What needs no mask: counts over the labels, and alarms."""
    kind = find_kind(manifest.kind)
    labels = label_facts(folder / "out", kind, dataset, manifest.image_ids, threshold)
    alarms = step_alarms(labels, metrics, trained=kind.scored_as == "segmentation")
    return {"labels": labels.to_dict(), "alarms": [alarm.to_dict() for alarm in alarms]}


def _maps(step: Scored) -> dict[str, Any]:
    found = score_maps(step.out, step.dataset, step.ids, step.threshold, step.split)
    return {**found.to_dict(), "per_image": found.scores.per_image}


def _labels(step: Scored) -> dict[str, Any]:
    found = score_folder(step.out, step.dataset, step.ids, split=step.split)
    return {**found.to_dict(), "per_image": found.per_image}


def _segmentation(step: Scored) -> dict[str, Any]:
    names = [name for name in VARIANTS if (step.out / name).is_dir()]
    if not names:
        raise UserError(f"{step.out} holds none of the folders {', '.join(VARIANTS)}: run the step again")
    variants = {name: _labels(replace(step, out=step.out / name)) for name in names}
    per_image = [scores.pop("per_image") for scores in variants.values()]
    return {**variants[names[0]], "variant": names[0], "variants": variants, "per_image": per_image[0]}


def _affinity(step: Scored) -> dict[str, Any]:
    """Scores of the joined labels, and the share of right pixels of each side on its own."""
    classes = step.dataset.classes
    tally = LabelTally(classes)

    def load(image_id: str) -> tuple[Labels, Labels]:
        return _affinity_pair(step.out, step.dataset, image_id)

    for image_id, (labels, truth) in load_ahead(load, step.ids, "scoring"):
        tally.add(classes.to_ids(labels), truth, image_id)
    counts = tally.confusion.matrix[:, : len(classes) + 1].double()
    right, said = counts.diagonal(), counts.sum(0)
    return {
        **tally.scores(step.split).to_dict(),
        "per_image": tally.per_image,
        "precision_foreground": _share(float(right[1:].sum()), float(said[1:].sum())),
        "precision_background": _share(float(right[0]), float(said[0])),
    }


def _affinity_pair(out: Path, dataset: ImageSet, image_id: str) -> tuple[Labels, Labels]:
    paths = [safe_join(out / side, f"{image_id}.png") for side in ("fg", "bg")]
    sides = [dataset.classes.to_index(load_labels(path)) for path in paths]
    sizes = {path: (side.shape[0], side.shape[1]) for path, side in zip(paths, sides, strict=True)}
    truth = read_truth(dataset, image_id, sizes)
    return np.asarray(affinity_labels(*sides)).astype(np.uint8), truth


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


Scorer = Callable[[Scored], dict[str, Any]]

SCORERS: dict[str, Scorer] = {
    "maps": _maps,
    "labels": _labels,
    "affinity_labels": _affinity,
    "segmentation": _segmentation,
}
"""How the results of a step are scored, by `Kind.scored_as`."""
