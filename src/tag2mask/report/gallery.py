"""Which images a report shows, and the row of pictures of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tag2mask.artifacts import find_kind
from tag2mask.core import ClassList, LabelsResult, ScoreMaps, UserError
from tag2mask.data import ImageSet
from tag2mask.report.pictures import (
    RGB,
    data_uri,
    heat_picture,
    label_picture,
    resize_labels,
    resize_map,
    shrink,
)
from tag2mask.report.runs import Run, Step

SIDE = 320
"""Longer side of a picture in pixels."""

SHOWN = ("maps", "labels", "segmentation")
"""Results that are scored like these are shown."""


@dataclass(frozen=True)
class Picture:
    """One picture of a row.

    Attributes:
        caption: what it shows.
        uri: the picture as a ``data:`` address, "" if there is none.
        problem: why there is none.
        alt: the picture in words, for readers who do not see it; "" stands for the caption.
    """

    caption: str
    uri: str = ""
    problem: str = ""
    alt: str = ""


@dataclass(frozen=True)
class Row:
    """The pictures of one image in one run."""

    run: str
    split: str
    image_id: str
    tags: str
    pictures: list[Picture]

    @property
    def about(self) -> str:
        """The split and the tags, as far as they are known."""
        return " · ".join(part for part in (self.split, self.tags and f"tags: {self.tags}") if part)


def choose_images(runs: Sequence[Run], count: int) -> list[tuple[str, str]]:
    """Pick images to show: the same ones every time, spread evenly over each split.

    Images that every step of every run has a result for come first.

    Args:
        runs: the runs to compare.
        count: images in all; the splits share them.

    Returns:
        pairs (split, image id), splits in the order of the steps.
    """
    lists: dict[str, list[list[str]]] = {}
    for run in runs:
        for step in run.steps:
            if _is_shown(step) and step.manifest.image_ids:
                lists.setdefault(step.manifest.split, []).append(step.manifest.image_ids)
    chosen: list[tuple[str, str]] = []
    for index, (split, found) in enumerate(lists.items()):
        share = (count - len(chosen)) // (len(lists) - index)
        common = set(found[0]).intersection(*found[1:])
        ids = [i for i in found[0] if i in common] or found[0]
        share = min(share, len(ids))
        chosen += [(split, ids[(2 * k + 1) * len(ids) // (2 * share)]) for k in range(share)]
    return chosen


def image_rows(runs: Sequence[Run], images: Sequence[tuple[str, str]]) -> Iterator[list[Row]]:
    """The rows of each image, one per run that has pictures of its split."""
    opened = [(run, _open(run)) for run in runs]
    for split, image_id in images:
        rows = []
        for run, dataset in opened:
            steps = [s for s in run.steps if _is_shown(s) and s.manifest.split == split]
            if any(image_id in step.manifest.image_ids for step in steps):
                rows.append(_row(run, dataset, steps, split, image_id))
        yield rows


def _open(run: Run) -> ImageSet | str:
    """The run's data set, or why there is none any more: the tables are worth a page without it."""
    described = next((step.manifest.data for step in run.steps if step.manifest.data), {})
    try:
        return ImageSet.from_description(described)
    except UserError as error:
        return str(error)


def _row(run: Run, dataset: ImageSet | str, steps: Sequence[Step], split: str, image_id: str) -> Row:
    if isinstance(dataset, str):
        return Row(run.name, split, image_id, "", [Picture("image", problem=dataset)])
    try:
        image = shrink(dataset.read_image(image_id), SIDE)
    except UserError as error:
        return Row(run.name, split, image_id, "", [Picture("image", problem=str(error))])
    pictures = [Picture("image", data_uri(image))]
    for step in steps:
        try:
            pictures += _step_pictures(step, image, image_id)
        except UserError as error:
            pictures.append(Picture(_title(step), problem=str(error)))
    pictures += _truth(dataset, image, image_id)
    pictures = [replace(picture, alt=f"{picture.caption} of {image_id}") for picture in pictures]
    return Row(run.name, split, image_id, _tags(dataset, image_id), pictures)


def _is_shown(step: Step) -> bool:
    return find_kind(step.manifest.kind).scored_as in SHOWN


def _step_pictures(step: Step, image: RGB, image_id: str) -> list[Picture]:
    classes = step.manifest.class_list()
    result = find_kind(step.manifest.kind).load(step.folder / "out", image_id, classes)
    if isinstance(result, ScoreMaps):
        return _map_pictures(_title(step), image, result, classes)
    if isinstance(result, LabelsResult):
        # The first way to predict is the one that the headline score is of.
        return [_labels(_title(step), image, classes.to_ids(next(iter(result.labels.values()))))]
    return []


def _map_pictures(title: str, image: RGB, scores: ScoreMaps, classes: ClassList) -> list[Picture]:
    """One heat map per class; for maps with background, the class of the highest map instead."""
    maps = [resize_map(values, (image.shape[0], image.shape[1])) for values in scores.maps]
    if 0 in scores.classes:
        winner = np.array(scores.classes, np.uint8)[np.stack(maps).argmax(0)]
        return [_labels(title, image, classes.to_ids(winner))]
    return [
        Picture(f"{title}: {classes.all_names[index]}", data_uri(heat_picture(image, values)))
        for index, values in zip(scores.classes, maps, strict=True)
    ]


def _truth(dataset: ImageSet, image: RGB, image_id: str) -> list[Picture]:
    try:
        mask = dataset.read_mask(image_id)
    except UserError as error:
        return [Picture("truth", problem=str(error))]
    return [] if mask is None else [_labels("truth", image, dataset.classes.to_ids(mask))]


def _labels(caption: str, image: RGB, ids: npt.NDArray[np.uint8]) -> Picture:
    size = (image.shape[0], image.shape[1])
    return Picture(caption, data_uri(label_picture(image, resize_labels(ids, size))))


def _tags(dataset: ImageSet, image_id: str) -> str:
    try:
        return ", ".join(dataset.tag_names(image_id))
    except UserError:
        return ""  # new images may have none, and a caption can do without


def _title(step: Step) -> str:
    return step.name.replace("_", " ")
