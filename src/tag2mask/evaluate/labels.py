"""Scores a folder of label PNGs against true masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from tag2mask.artifacts import load_labels, read_json, read_manifest, safe_join
from tag2mask.artifacts.prediction_folder import CLASSES_NAME
from tag2mask.core import IGNORE, VOC_NAMES, ClassList, Unknown, UserError
from tag2mask.data import ImageSet
from tag2mask.evaluate.loop import load_ahead
from tag2mask.evaluate.scores import Labels, LabelTally, Scores
from tag2mask.evaluate.truth import no_mask

Missing = Literal["error", "skip"]


def score_folder(
    pred_dir: str | Path,
    truth: str | Path | ImageSet,
    ids: Sequence[str] | None = None,
    classes: ClassList | None = None,
    unknown: Unknown = "ignore",
    *,
    split: str = "",
    missing: Missing = "error",
    known_in: str | Path | None = None,
) -> Scores:
    """Score ``pred_dir/<id>.png`` against true masks, with one confusion over all images.

    Both are palette or gray PNGs of mask ids. Pixels whose truth is 255 are not scored; a true id
    that `classes` does not name is background.

    Args:
        pred_dir: folder of predicted labels.
        truth: folder of true masks ``<id>.png``, or an image set with masks.
        ids: images to score; None takes all masks of the folder (needed for an image set).
        classes: classes to score; None takes those of the image set, or the ids in the folder's masks.
        unknown: what a prediction of 255 counts as: ``"ignore"``, ``"wrong"`` or ``"background"``.
        split: name of the set of images, kept in the result.
        missing: ``"skip"`` leaves images without a prediction (or other labels) out and counts them.
        known_in: folder of other labels; pixels that are 255 there are not scored. Partial labels cover
            the easy pixels: this scores others on the same ones.

    Raises:
        UserError: a folder, mask or prediction is missing or unreadable, or sizes differ.
        ValueError: `ids` is missing for an image set.
    """
    chosen = _ids(truth, ids)
    found, lost = _predictions(_folder(pred_dir), chosen, missing)
    others: dict[str, Path] = {}
    if known_in is not None:
        others, more = _predictions(_folder(known_in), list(found), missing)
        found, lost = {image_id: found[image_id] for image_id in others}, lost + more
    wanted = classes or (
        truth.classes
        if isinstance(truth, ImageSet)
        else classes_in_masks(truth, list(found), named_classes(Path(pred_dir)))
    )
    tally = LabelTally(wanted, unknown)

    def load(image_id: str) -> tuple[Labels, Labels]:
        predicted, true = _pair(found[image_id], _mask(truth, image_id))
        if image_id in others:
            true = np.where(_pair(others[image_id], found[image_id])[0] == IGNORE, IGNORE, true)
        return predicted, wanted.to_index(true)

    for image_id, (predicted, true) in load_ahead(load, list(found), "scoring"):
        tally.add(predicted, true, image_id)
    return tally.scores(split, missing=lost)


def named_classes(pred_dir: Path) -> dict[int, str]:
    """Mask id -> name, as ``tag2mask predict`` or a step of a run left it; empty if neither did."""
    if isinstance(own := read_json(pred_dir / CLASSES_NAME), dict):
        return {mask_id: str(name) for name, mask_id in own.items() if isinstance(mask_id, int)}
    out = next((p for p in (pred_dir, pred_dir.parent) if p.name == "out"), None)
    manifest = None if out is None else read_manifest(out.parent)
    if manifest is None:
        return {}
    classes = manifest.class_list()
    return dict(zip(classes.ids, classes.names, strict=True))


def classes_in_masks(
    masks_dir: str | Path, ids: Sequence[str], names: Mapping[int, str] | None = None
) -> ClassList:
    """The classes that occur in a folder's masks.

    Args:
        masks_dir: the folder.
        ids: the images.
        names: mask id -> name, where they are known; else VOC's where all ids are VOC's 1..20.

    Raises:
        UserError: a mask cannot be read, or there is nothing but background in all of them.
    """
    seen: set[int] = set()
    for _, values in load_ahead(lambda i: np.unique(load_labels(_mask(masks_dir, i))), ids, "classes"):
        seen.update(int(v) for v in values)
    present = sorted(seen - {0, IGNORE})
    if not present:
        raise UserError(f"the {len(ids)} masks in {masks_dir} hold no class, only background: give --classes")
    voc = present[-1] <= len(VOC_NAMES)
    known = names or (dict(enumerate(VOC_NAMES, 1)) if voc else {})
    return ClassList(tuple(known.get(i, f"class {i}") for i in present), tuple(present))


def _ids(truth: str | Path | ImageSet, ids: Sequence[str] | None) -> list[str]:
    if ids is not None:
        return list(ids)
    if isinstance(truth, ImageSet):
        raise ValueError("ids must be given with an image set")
    found = sorted(p.stem for p in _folder(truth).glob("*.png"))
    if not found:
        raise UserError(f"{truth} holds no PNG masks")
    return found


def _folder(path: str | Path) -> Path:
    if not Path(path).is_dir():
        raise UserError(f"{path} is not a folder")
    return Path(path)


def _predictions(pred_dir: Path, ids: Sequence[str], missing: Missing) -> tuple[dict[str, Path], int]:
    paths = {image_id: safe_join(pred_dir, f"{image_id}.png") for image_id in ids}
    found = {image_id: path for image_id, path in paths.items() if path.is_file()}
    lost = [image_id for image_id in ids if image_id not in found]
    if lost and (missing == "error" or not found):
        first = ", ".join(lost[:3]) + (", ..." if len(lost) > 3 else "")
        raise UserError(
            f"{len(lost)} of {len(ids)} predictions are missing in {pred_dir} ({first}): "
            "name the images to score with --split FILE, or leave them out with --missing skip"
        )
    return found, len(lost)


def _mask(masks: str | Path | ImageSet, image_id: str) -> Path:
    if not isinstance(masks, ImageSet):
        return safe_join(masks, f"{image_id}.png")
    path = masks.mask_path(image_id)
    if path is None:
        raise no_mask(image_id)
    return path


def _pair(pred_path: Path, mask_path: Path) -> tuple[Labels, Labels]:
    predicted, true = load_labels(pred_path), load_labels(mask_path)
    if predicted.shape != true.shape:
        raise UserError(
            f"{pred_path} is {predicted.shape[1]}x{predicted.shape[0]} but {mask_path} is "
            f"{true.shape[1]}x{true.shape[0]}: a prediction must have its mask's size"
        )
    return predicted, true
