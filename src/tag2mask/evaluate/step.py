"""Scores what a step of a run left on disk, and writes ``score.json`` beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tag2mask.artifacts import (
    METRICS_NAME,
    SCORE_NAME,
    VARIANTS,
    Manifest,
    atomic_write_json,
    load_labels,
    read_json,
    require_step,
    safe_join,
)
from tag2mask.core import UserError
from tag2mask.data import ImageSet
from tag2mask.evaluate.labels import score_folder
from tag2mask.evaluate.loop import load_ahead
from tag2mask.evaluate.maps import score_maps
from tag2mask.evaluate.scores import Labels, LabelTally
from tag2mask.ops import affinity_labels

CAM_THRESHOLD = 0.3
"""Where a step names no threshold of its own (``cam_threshold`` in its ``metrics.json``)."""

UNSCORED = {
    "checkpoint": "a checkpoint makes",
    "superpixels": "superpixels are",
    "features": "features are",
    "sub_labels": "sub-categories are",
}
"""Kinds of steps that have nothing to compare with masks, as the subject of a sentence."""


def score_step(step_dir: str | Path) -> dict[str, Any]:
    """Score a finished step and write ``<step>/score.json``.

    What is read depends on the manifest's kind: score maps, label maps (unknown pixels ignored,
    with their coverage), the labels of an affinity learner, or the predictions of a segmentation
    network in each of its variants.

    Args:
        step_dir: a step's folder, with its manifest.

    Returns:
        what was written: ``{"scored": True, "miou": ..., "per_class": ..., ...}``, or
        ``{"scored": False, "why": ...}`` where there are no masks or nothing to compare with them.

    Raises:
        UserError: the step is not complete, or a file of it or a mask is missing or broken.
    """
    folder = Path(step_dir)
    manifest = require_step(folder)
    metrics = read_json(folder / METRICS_NAME) or {}
    score: dict[str, Any] = {"kind": manifest.kind, "split": manifest.split, "metrics": metrics}
    if manifest.kind in UNSCORED:
        score = {"scored": False, "why": f"{UNSCORED[manifest.kind]} no label maps", **score}
    else:
        dataset = ImageSet.from_description(manifest.data)
        ids = [i for i in manifest.image_ids if dataset.mask_path(i) is not None]
        if ids:
            score = {"scored": True, **score, **_score(folder, manifest, dataset, ids, metrics)}
        else:
            score = {"scored": False, "why": "the data set has no masks for these images", **score}
    atomic_write_json(folder / SCORE_NAME, score)
    return score


def _score(
    folder: Path, manifest: Manifest, dataset: ImageSet, ids: list[str], metrics: dict[str, Any]
) -> dict[str, Any]:
    if dataset.classes != manifest.class_list():
        raise UserError(f"{folder} was made for other classes than its data set has now: run the step again")
    out, split = folder / "out", manifest.split
    if manifest.kind == "maps":
        threshold = float(metrics.get("cam_threshold", CAM_THRESHOLD))
        return score_maps(out, dataset, ids, threshold, split).to_dict()
    if manifest.kind == "labels":
        return score_folder(out, dataset, ids, split=split).to_dict()
    if manifest.kind == "affinity_labels":
        return _affinity(out, dataset, ids, split)
    return _segmentation(out, dataset, ids, split)


def _segmentation(out: Path, dataset: ImageSet, ids: list[str], split: str) -> dict[str, Any]:
    names = [name for name in VARIANTS if (out / name).is_dir()]
    if not names:
        raise UserError(f"{out} holds none of the folders {', '.join(VARIANTS)}: run the step again")
    variants = {name: score_folder(out / name, dataset, ids, split=split).to_dict() for name in names}
    return {**variants[names[0]], "variant": names[0], "variants": variants}


def _affinity(out: Path, dataset: ImageSet, ids: list[str], split: str) -> dict[str, Any]:
    """Scores of the joined labels, and the share of right pixels of each side on its own."""
    classes = dataset.classes
    tally = LabelTally(classes)

    def load(image_id: str) -> tuple[Labels, Labels]:
        return _affinity_pair(out, dataset, image_id)

    for _, (labels, truth) in load_ahead(load, ids, "scoring"):
        tally.add(classes.to_ids(labels), truth)
    counts = tally.confusion.matrix[:, : len(classes) + 1].double()
    right, said = counts.diagonal(), counts.sum(0)
    return {
        **tally.scores(split).to_dict(),
        "precision_foreground": _share(float(right[1:].sum()), float(said[1:].sum())),
        "precision_background": _share(float(right[0]), float(said[0])),
    }


def _affinity_pair(out: Path, dataset: ImageSet, image_id: str) -> tuple[Labels, Labels]:
    paths = [safe_join(out / side, f"{image_id}.png") for side in ("fg", "bg")]
    sides = [dataset.classes.to_index(load_labels(path)) for path in paths]
    truth = dataset.read_mask(image_id)
    if truth is None:
        raise UserError(f"image {image_id!r} has no mask to score against")
    for path, side in zip(paths, sides, strict=True):
        if side.shape != truth.shape:
            raise UserError(
                f"{path} is {side.shape[1]}x{side.shape[0]} but {dataset.mask_path(image_id)} is "
                f"{truth.shape[1]}x{truth.shape[0]}: the data set has changed, run the step again"
            )
    return np.asarray(affinity_labels(*sides)).astype(np.uint8), truth


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
