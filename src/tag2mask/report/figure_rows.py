"""Rows of pictures for papers and notebooks: an image, what the steps of a run made of it, the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tag2mask.data import ImageSet
from tag2mask.report.figure_pages import PAGE, STYLE, Figure, mpl
from tag2mask.report.panels import Panel, label_panel, step_panels, truth_panels
from tag2mask.report.pictures import RGB, heat_picture, resize_map, shrink
from tag2mask.report.runs import Run, Step

COLUMNS = {
    "cam": "CAM", "walk": "walk", "pseudo_label": "pseudo-label", "segmentation": "prediction",
}  # fmt: skip
"""Steps of a row, and what a paper calls them."""

Segment = Callable[[RGB], npt.NDArray[np.uint8]]


def figure_row(
    run: Run,
    image_id: str,
    columns: Mapping[str, str] = COLUMNS,
    segment: Segment | None = None,
    side: int = 480,
) -> list[Panel]:
    """One image, what the steps of a run made of it, and the truth where there is one.

    Args:
        run: a run whose data set can be read.
        image_id: an image.
        columns: step -> caption; steps that the run lacks, or that made nothing of this image, are left out.
        segment: a network, such as ``tag2mask.load(run.folder)``, that labels images which the step
            ``segmentation`` has not predicted: its images are those of val, the other steps' those of train.
        side: longer side of the pictures in pixels.

    Raises:
        UserError: a file is missing or broken.
    """
    dataset = ImageSet.from_description(run.steps[0].manifest.data, origin=run.steps[0].folder)
    image = shrink(dataset.read_image(image_id), side)
    row = [Panel("image", image)]
    for name, caption in columns.items():
        step = run.step(name)
        if step is not None and image_id in step.manifest.image_ids:
            row.append(replace(_panel(step, image, image_id), caption=caption))
        elif name == "segmentation" and segment is not None:
            row.append(label_panel(caption, image, dataset.classes.to_ids(segment(image))))
    return row + truth_panels(dataset, image, image_id)


def rows_figure(rows: Sequence[Sequence[Panel]], width: float = PAGE) -> Figure:
    """Rows of pictures in columns, with the captions above the first row; ``truth`` is the last column.

    Args:
        rows: the panels of each image; a panel stands below the one of the same caption.
        width: of the figure in inches.
    """
    captions = list(dict.fromkeys(panel.caption for row in sorted(rows, key=len)[::-1] for panel in row))
    captions.sort(key=lambda caption: caption == "truth")
    shapes = [row[0].picture.shape for row in rows]
    heights = [width / len(captions) * shape[0] / shape[1] for shape in shapes]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, sum(heights) + 0.2), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)  # type: ignore[union-attr,call-arg]
        axes = figure.subplots(len(rows), len(captions), squeeze=False, height_ratios=heights)
        for at, row in enumerate(rows):
            panels = {panel.caption: panel.picture for panel in row}
            for place, caption in zip(axes[at], captions, strict=True):
                place.axis("off")
                if caption in panels:
                    place.imshow(panels[caption], interpolation="none")
                if at == 0:
                    place.set_title(caption, pad=3)
    return figure


def _panel(step: Step, image: RGB, image_id: str) -> Panel:
    """The labels of a step, or the highest of its maps at each pixel where they have no background."""
    panel = step_panels(step, image, image_id)[-1]
    if panel.cut is None:
        return panel
    highest = resize_map(panel.cut.maps.max(axis=0), (image.shape[0], image.shape[1]))
    return Panel(panel.caption, heat_picture(image, highest))
