"""Figures for papers and notebooks, drawn by matplotlib (``pip install 'tag2mask[figures]'``).

Sizes are those of a page in two columns; fonts are Times-like and embedded as TrueType, as publishers want.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tag2mask.core import UserError
from tag2mask.core.tables import percent
from tag2mask.data import ImageSet
from tag2mask.report.confusion import matrices
from tag2mask.report.panels import Panel, label_panel, step_panels, truth_panels
from tag2mask.report.pictures import RGB, heat_picture, resize_map, shrink
from tag2mask.report.runs import Run, Step
from tag2mask.report.training import threshold_lines

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:
    raise UserError(f"figures need matplotlib ({error}): pip install 'tag2mask[figures]'") from error

COLUMN, PAGE = 3.3, 6.9
"""Width in inches of a column, and of the whole page."""
STYLE: dict[Any, Any] = {
    "font.family": "STIXGeneral", "mathtext.fontset": "stix", "font.size": 8, "axes.titlesize": 8,
    "legend.fontsize": 7, "axes.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False,
    "lines.linewidth": 1.2, "legend.frameon": False, "pdf.fonttype": 42, "ps.fonttype": 42,
}  # fmt: skip
"""The settings of matplotlib that every figure is drawn with; the fonts come with matplotlib."""
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


def threshold_figure(runs: Sequence[Run], width: float = COLUMN) -> Figure:
    """Mean IoU of the maps over the background threshold, with a dot at the threshold that a run used.

    Args:
        runs: runs with masks.
        width: of the figure in inches.

    Raises:
        UserError: no maps of these runs were scored.
    """
    lines = threshold_lines(runs)
    if not lines:
        raise UserError("no maps of these runs were scored: a curve of thresholds needs masks")
    used = [
        s.cam_threshold for run in runs for s in run.steps if (s.score or {}).get("curve", {}).get("miou")
    ]
    with mpl.rc_context(STYLE):
        figure, axes = _axes(width, 0.7 * width)
        for line, threshold in zip(lines, used, strict=True):
            shares = 100 * np.asarray(line.ys)
            axes.plot(line.xs, shares, label=line.name)
            axes.plot(
                threshold,
                np.interp(threshold, line.xs, shares),
                "o",
                markersize=4,
                color=axes.lines[-1].get_color(),
            )
        axes.set(xlabel="background threshold", ylabel="mIoU (%)", ylim=(0, None))
        axes.legend()
    return figure


def class_figure(runs: Sequence[Run], step: str, width: float = COLUMN) -> Figure:
    """Intersection over union of each class after a step, a bar for each run.

    Raises:
        UserError: none of the runs has a score of this step.
    """
    scores = {run.name: (found.score or {})["per_class"] for run in runs if (found := _scored(run, step))}
    if not scores:
        raise UserError(f"none of these runs has a score of the step {step}")
    names = list(dict.fromkeys(name for per_class in scores.values() for name in per_class))
    high = 0.8 / len(scores)
    with mpl.rc_context(STYLE):
        figure, axes = _axes(width, 0.3 + 0.22 * len(names) * max(1, len(scores) / 2))
        for number, (run, per_class) in enumerate(scores.items()):
            places = np.arange(len(names)) + (number - (len(scores) - 1) / 2) * high
            axes.barh(places, [100 * (per_class.get(name) or 0) for name in names], high, label=run)
        axes.set(
            yticks=range(len(names)),
            yticklabels=names,
            xlabel=f"IoU after {step.replace('_', ' ')} (%)",
            xlim=(0, 100),
        )
        axes.invert_yaxis()
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(scores))
    return figure


def confusion_figure(run: Run, step: str, width: float = COLUMN) -> Figure:
    """Of the pixels of each true class (rows), the percentage that was given each class.

    Raises:
        UserError: the step was not scored.
    """
    found = next((m for m in matrices([run]) if m.title == step), None)
    if found is None:
        raise UserError(f"{run.folder} has no confusion of the step {step}: it was not scored with masks")
    shares = np.array([[cell.strength for cell in cells] for _, cells in found.rows])
    with mpl.rc_context(STYLE):
        figure, axes = _axes(width, width * len(found.rows) / len(found.columns))
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (y, x), share in np.ndenumerate(shares):
            axes.text(
                x,
                y,
                percent(float(share)),
                ha="center",
                va="center",
                color="white" if share > 0.6 else "black",
            )
        axes.set(
            xticks=range(len(found.columns)),
            yticks=range(len(found.rows)),
            xlabel="given",
            ylabel="true class",
        )
        axes.set_xticklabels(found.columns, rotation=30, ha="right")
        axes.set_yticklabels([name for name, _ in found.rows])
    return figure


def points_figure(
    points: Mapping[str, npt.NDArray[np.float32]], names: Sequence[str], width: float = COLUMN
) -> Figure:
    """Named points in a plane whose axes mean nothing, such as those of t-SNE.

    Args:
        points: name of a group -> its points (N, 2).
        names: what stands beside each point, of all groups one after the other.
        width: of the figure in inches.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _axes(width, width)
        for marker, (group, places) in zip("oXs^Dv", points.items(), strict=False):
            axes.scatter(places[:, 0], places[:, 1], 14, marker=marker, label=group)
        for (x, y), name in zip(np.concatenate(list(points.values())), names, strict=True):
            axes.annotate(name, (x, y), xytext=(3, 2), textcoords="offset points", fontsize=6)
        axes.set(xticks=[], yticks=[])
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(points))
    return figure


def save_figure(figure: Figure, path: str | Path) -> list[Path]:
    """Write a figure as PDF (lines and letters stay sharp) and as PNG with 300 dots per inch.

    Args:
        figure: a figure.
        path: without an ending; its folder is made.

    Returns:
        the two files.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    files = [target.with_name(f"{target.name}.{ending}") for ending in ("pdf", "png")]
    with mpl.rc_context(STYLE):
        for file in files:
            # without the date in it, the same figure is the same file
            metadata = {"CreationDate": None} if file.suffix == ".pdf" else None
            figure.savefig(file, dpi=300, metadata=metadata)
    return files


def as_picture(figure: Figure, dots: int = 110) -> Image.Image:
    """The figure for a notebook, with so many dots per inch."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=dots)
    return Image.open(buffer)


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _panel(step: Step, image: RGB, image_id: str) -> Panel:
    """The labels of a step, or the highest of its maps at each pixel where they have no background."""
    panel = step_panels(step, image, image_id)[-1]
    if panel.cut is None:
        return panel
    highest = resize_map(panel.cut.maps.max(axis=0), (image.shape[0], image.shape[1]))
    return Panel(panel.caption, heat_picture(image, highest))


def _scored(run: Run, step: str) -> Step | None:
    found = run.step(step)
    return found if found is not None and found.scored else None
