"""Contact sheets of sub-categories: what k-means has put together, class by class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from tag2mask.artifacts import load_sub_labels, safe_join
from tag2mask.core import UserError
from tag2mask.data import ImageSet
from tag2mask.report.gallery import Picture
from tag2mask.report.pictures import RGB, data_uri
from tag2mask.report.runs import Run, Step, title_of

KIND = "sub_labels"
SIDE, ACROSS = 72, 8
"""Side of an image in pixels, and images shown of each sub-category."""


@dataclass(frozen=True)
class Sheet:
    """The sub-categories of one round: a picture per class.

    Attributes:
        title: the step, after its run where there are several.
        unfolded: whether the page shows it at once.
        pictures: one per class, or the reason why there is none.
    """

    title: str
    unfolded: bool
    pictures: list[Picture]


def sheets(runs: Sequence[Run]) -> list[Sheet]:
    """One sheet for every round of sub-categories; the last one of each run is unfolded."""
    found = []
    for run in runs:
        steps = [step for step in run.steps if step.manifest.kind == KIND]
        found += [
            Sheet(title_of(step, run, runs), step is steps[-1], list(_pictures(step))) for step in steps
        ]
    return found


def _pictures(step: Step) -> Iterator[Picture]:
    try:
        dataset = ImageSet.from_description(step.manifest.data, origin=step.folder)
        groups = _groups(step)
        for index, name in enumerate(dataset.classes.all_names):
            if index in groups:
                yield _picture(dataset, name, groups[index])
    except UserError as error:
        yield Picture("", problem=str(error))


def _groups(step: Step) -> dict[int, dict[int, list[str]]]:
    """Class index -> number of the sub-category -> its images, in the order of the split."""
    groups: dict[int, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    classes = step.manifest.class_list()
    for image_id in step.manifest.image_ids:
        clusters = load_sub_labels(safe_join(step.folder / "out", f"{image_id}.json"), classes)
        for index, number in clusters.items():
            groups[index][number].append(image_id)
    return groups


def _picture(dataset: ImageSet, name: str, clusters: dict[int, list[str]]) -> Picture:
    ordered = [clusters[number] for number in sorted(clusters)]
    rows = [_row([dataset.read_image(i) for i in members[:ACROSS]]) for members in ordered]
    sizes = ", ".join(str(len(members)) for members in ordered)
    return Picture(f"{name}: {len(ordered)} sub-categories of {sizes} images", data_uri(np.concatenate(rows)))


def _row(images: Sequence[RGB]) -> RGB:
    row = np.full((SIDE + 2, ACROSS * (SIDE + 2), 3), 255, np.uint8)
    for at, image in enumerate(images):
        square = ImageOps.fit(Image.fromarray(image), (SIDE, SIDE))
        row[:SIDE, at * (SIDE + 2) : at * (SIDE + 2) + SIDE] = np.asarray(square)
    return row
