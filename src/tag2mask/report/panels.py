"""The pictures of one image, as arrays: the image, what each step made of it, and the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tag2mask.core import ClassList, LabelsResult, ScoreMaps
from tag2mask.core.results import cut_maps
from tag2mask.data import ImageSet
from tag2mask.report.pictures import RGB, heat_picture, label_picture, resize_labels, resize_map
from tag2mask.report.runs import Step


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        caption: what it shows.
        picture: uint8 (H, W, 3).
        cut: the maps that it was cut from at a threshold, where there are such.
    """

    caption: str
    picture: RGB
    cut: ScoreMaps | None = None


def step_panels(step: Step, image: RGB, image_id: str) -> list[Panel]:
    """What a step made of an image: maps without background as heat maps and cut, others as label maps.

    Args:
        step: a step that has a result for the image.
        image: the image (H, W, 3), at the size of the pictures.
        image_id: its id.

    Raises:
        UserError: a file is missing or broken.
    """
    classes = step.manifest.class_list()
    result = step.result(image_id)
    title = step.name.replace("_", " ")
    if isinstance(result, ScoreMaps):
        return list(_map_panels(title, image, result, classes, step.cam_threshold))
    if isinstance(result, LabelsResult):
        # The first way to predict is the one that the headline score is of.
        return [label_panel(title, image, classes.to_ids(next(iter(result.labels.values()))))]
    return []


def truth_panels(dataset: ImageSet, image: RGB, image_id: str) -> list[Panel]:
    """The true mask of an image over it, or nothing where there is none.

    Raises:
        UserError: the mask is broken.
    """
    mask = dataset.read_mask(image_id)
    return [] if mask is None else [label_panel("truth", image, dataset.classes.to_ids(mask))]


def label_panel(caption: str, image: RGB, ids: npt.NDArray[np.uint8]) -> Panel:
    """Mask ids (h, w) in their colours over the image (H, W, 3)."""
    return Panel(caption, label_picture(image, resize_labels(ids, (image.shape[0], image.shape[1]))))


def _map_panels(
    title: str, image: RGB, scores: ScoreMaps, classes: ClassList, threshold: float
) -> Iterator[Panel]:
    """One heat map per class, and all of them cut at a threshold; with background, the highest class."""
    maps = [resize_map(values, (image.shape[0], image.shape[1])) for values in scores.maps]
    if not maps:
        return
    labels = classes.to_ids(cut_maps(np.stack(maps), scores.classes, threshold))
    if 0 in scores.classes:
        yield label_panel(title, image, labels)
        return
    for index, values in zip(scores.classes, maps, strict=True):
        yield Panel(f"{title}: {classes.all_names[index]}", heat_picture(image, values))
    cut = label_panel(f"{title} above {threshold:.2f}", image, labels)
    yield Panel(cut.caption, cut.picture, scores)
