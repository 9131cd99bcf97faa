"""Figures for papers and notebooks, drawn by matplotlib (``pip install 'tag2mask[figures]'``).

Sizes are those of a page in two columns; fonts are Times-like and embedded as TrueType, as publishers want.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tag2mask.core import UserError
from tag2mask.core.tables import percent
from tag2mask.report.confusion import matrices
from tag2mask.report.figure_pages import COLUMN, PAGE, STYLE, Figure, as_picture, mpl, one_plot, save_figure
from tag2mask.report.figure_rows import COLUMNS, figure_row, rows_figure
from tag2mask.report.runs import Run, Step
from tag2mask.report.training import threshold_lines

__all__ = [
    "COLUMN",
    "COLUMNS",
    "PAGE",
    "STYLE",
    "as_picture",
    "class_figure",
    "confusion_figure",
    "figure_row",
    "points_figure",
    "rows_figure",
    "save_figure",
    "threshold_figure",
]


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
        figure, axes = one_plot(width, 0.7 * width)
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
        figure, axes = one_plot(width, 0.3 + 0.22 * len(names) * max(1, len(scores) / 2))
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
        figure, axes = one_plot(width, width * len(found.rows) / len(found.columns))
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
        figure, axes = one_plot(width, width)
        for marker, (group, places) in zip("oXs^Dv", points.items(), strict=False):
            axes.scatter(places[:, 0], places[:, 1], 14, marker=marker, label=group)
        for (x, y), name in zip(np.concatenate(list(points.values())), names, strict=True):
            axes.annotate(name, (x, y), xytext=(3, 2), textcoords="offset points", fontsize=6)
        axes.set(xticks=[], yticks=[])
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(points))
    return figure


def _scored(run: Run, step: str) -> Step | None:
    found = run.step(step)
    return found if found is not None and found.scored else None
