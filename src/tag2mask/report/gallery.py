"""The row of pictures of each image that a report shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from tag2mask.artifacts.run_folder import data_of_now
from tag2mask.core import UserError
from tag2mask.core.tables import percent
from tag2mask.data import ImageSet
from tag2mask.report.choice import is_shown
from tag2mask.report.panels import Panel, step_panels, truth_panels
from tag2mask.report.pictures import RGB, data_uri, hex_colour, maps_uri, shrink
from tag2mask.report.runs import Run, Step

SIDE, MAP_SIDE = 360, 120
"""Longer side in pixels of a picture, and of the maps that the slider cuts."""


@dataclass(frozen=True)
class Cut:
    """What the page's script needs to colour maps at another threshold.

    Attributes:
        uri: the maps, one below the other, as a gray PNG.
        colours: the colour of each map's class, as ``#rrggbb``.
        threshold: the one that the picture was made with.
    """

    uri: str
    colours: list[str]
    threshold: float


@dataclass(frozen=True)
class Picture:
    """One picture of a row.

    Attributes:
        caption: what it shows.
        uri: the picture as a ``data:`` address, "" if there is none.
        problem: why there is none.
        alt: the picture in words, for readers who do not see it; "" stands for the caption.
        score: the image's own mean IoU in percent, "" if it was not scored.
        cut: the maps behind it, where the reader may choose their threshold.
    """

    caption: str
    uri: str = ""
    problem: str = ""
    alt: str = ""
    score: str = ""
    cut: Cut | None = None


@dataclass(frozen=True)
class Row:
    """The pictures of one image in one run.

    Attributes:
        run: the run's name.
        split: the split of the image.
        image_id: the image.
        tags: its tags, as far as they are known.
        pictures: image, results of the steps, truth.
        score: mean IoU in [0, 1] of the image after the last step that scored it.
    """

    run: str
    split: str
    image_id: str
    tags: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    score: float | None = None

    @property
    def about(self) -> str:
        """The split and the tags, as far as they are known."""
        tags = ", ".join(self.tags)
        return " · ".join(part for part in (self.split, tags and f"tags: {tags}") if part)


def image_rows(runs: Sequence[Run], images: Sequence[tuple[str, str]]) -> Iterator[list[Row]]:
    """The rows of each image, one per run that has pictures of its split."""
    opened = [(run, _open(run)) for run in runs]
    for split, image_id in images:
        rows = []
        for run, dataset in opened:
            steps = [s for s in run.steps if is_shown(s) and s.manifest.split == split]
            if any(image_id in step.manifest.image_ids for step in steps):
                rows.append(_row(run, dataset, steps, split, image_id))
        yield rows


def _open(run: Run) -> ImageSet | str:
    """The run's data set, or why there is none any more: the tables are worth a page without it."""
    described = (data_of_now(s.folder, s.manifest.data) for s in run.steps if s.manifest.data)
    try:
        return ImageSet.from_description(next(described, {}))
    except UserError as error:
        return str(error)


def _row(run: Run, dataset: ImageSet | str, steps: Sequence[Step], split: str, image_id: str) -> Row:
    if isinstance(dataset, str):
        return Row(run.name, split, image_id, pictures=[Picture("image", problem=dataset)])
    try:
        image = shrink(dataset.read_image(image_id), SIDE)
    except UserError as error:
        return Row(run.name, split, image_id, pictures=[Picture("image", problem=str(error))])
    pictures = [Picture("image", data_uri(image))]
    for step in steps:
        try:
            pictures += _step_pictures(step, image, image_id)
        except UserError as error:
            pictures.append(Picture(_title(step), problem=str(error)))
    pictures += _truth(dataset, image, image_id)
    pictures = [replace(picture, alt=f"{picture.caption} of {image_id}") for picture in pictures]
    scores = [step.image_scores[image_id] for step in steps if image_id in step.image_scores]
    return Row(run.name, split, image_id, _tags(dataset, image_id), pictures, scores[-1] if scores else None)


def _step_pictures(step: Step, image: RGB, image_id: str) -> list[Picture]:
    score = percent(step.image_scores[image_id]) if image_id in step.image_scores else ""
    return [
        Picture(panel.caption, data_uri(panel.picture), score=score, cut=_cut(step, panel))
        for panel in step_panels(step, image, image_id)
    ]


def _cut(step: Step, panel: Panel) -> Cut | None:
    if panel.cut is None:
        return None
    ids = step.manifest.class_list().all_ids
    colours = [hex_colour(ids[index]) for index in panel.cut.classes]
    return Cut(maps_uri(list(panel.cut.maps), MAP_SIDE), colours, step.cam_threshold)


def _truth(dataset: ImageSet, image: RGB, image_id: str) -> list[Picture]:
    try:
        return [Picture(p.caption, data_uri(p.picture)) for p in truth_panels(dataset, image, image_id)]
    except UserError as error:
        return [Picture("truth", problem=str(error))]


def _tags(dataset: ImageSet, image_id: str) -> list[str]:
    try:
        return list(dataset.tag_names(image_id))
    except UserError:
        return []  # new images may have none, and a caption can do without


def _title(step: Step) -> str:
    return step.name.replace("_", " ")
