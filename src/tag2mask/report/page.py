"""The HTML page of a report: one file that loads nothing from elsewhere."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any, NamedTuple

from tag2mask import __version__
from tag2mask.core.html_pages import page_templates
from tag2mask.core.tables import percent
from tag2mask.report import clusters
from tag2mask.report.bars import class_bars, cost_bars, tag_bars
from tag2mask.report.choice import choose_images
from tag2mask.report.confusion import matrices
from tag2mask.report.gallery import Row, image_rows
from tag2mask.report.pictures import legend
from tag2mask.report.runs import Run
from tag2mask.report.scores import metric_table, score_table
from tag2mask.report.settings import difference_table, origin_tables, settings_table
from tag2mask.report.summary import summarise
from tag2mask.report.training import threshold_chart, threshold_lines, training_charts


class Choices(NamedTuple):
    """What the reader may choose of the pictures.

    Attributes:
        tags: classes to filter by.
        splits: splits to filter by.
        scored: whether images can be put in the order of their scores.
        threshold: where the slider of the background threshold begins; None for no slider.
        curves: name of the maps -> threshold -> mean IoU in percent, to be read beside the slider.
    """

    tags: list[str]
    splits: list[str]
    scored: bool
    threshold: float | None
    curves: dict[str, dict[str, str]]


def build_page(runs: Sequence[Run], images: int = 24) -> str:
    """The report on one run, or on several side by side.

    Args:
        runs: what to report on, at least one.
        images: how many images to show; 0 also leaves the sheets of sub-categories out.

    Returns:
        a whole HTML document without outside resources; its only script is part of it and named by its
        hash in the page's policy, and every text in it is escaped.

    Raises:
        UserError: a saved configuration or a file of a logger is broken.
    """
    script = files("tag2mask.report").joinpath("templates", "page.js").read_text(encoding="utf-8")
    gallery = [rows for rows in image_rows(runs, choose_images(runs, images)) if rows]
    return (
        page_templates("tag2mask.report")
        .get_template("page.html")
        .render(
            title="tag2mask: " + ", ".join(run.name for run in runs),
            subtitle=_subtitle(runs),
            several=len(runs) > 1,
            script=script,
            script_hash=b64encode(sha256(script.encode()).digest()).decode("ascii"),
            version=__version__,
            gallery=gallery,
            choices=_choices(runs, gallery),
            legend=legend([run.steps[0].manifest.class_list() for run in runs]),
            sheets=clusters.sheets(runs) if images else [],
            across=clusters.ACROSS,
            **_numbers(runs),
            **_made_with(runs),
        )
    )


def _numbers(runs: Sequence[Run]) -> dict[str, Any]:
    """What the page shows of scores and training."""
    return {
        "summaries": [summarise(run) for run in runs],
        "scores": score_table(runs),
        "classes": class_bars(runs),
        "thresholds": threshold_chart(runs),
        "confusions": matrices(runs),
        "curves": training_charts(runs),
        "metrics": metric_table(runs),
        "class_metrics": metric_table(runs, per_class=True),
    }


def _made_with(runs: Sequence[Run]) -> dict[str, Any]:
    """What the page shows of costs, data and settings."""
    return {
        "costs": cost_bars(runs),
        "tags": tag_bars(runs[0]),
        "settings": settings_table(runs),
        "differences": difference_table(runs),
        "origins": origin_tables(runs),
    }


def _choices(runs: Sequence[Run], gallery: Sequence[Sequence[Row]]) -> Choices:
    rows = [row for rows in gallery for row in rows]
    cuts = [picture.cut for row in rows for picture in row.pictures if picture.cut]
    return Choices(
        tags=sorted({tag for row in rows for tag in row.tags}),
        splits=list(dict.fromkeys(row.split for row in rows)),
        scored=any(row.score is not None for row in rows),
        threshold=cuts[0].threshold if cuts else None,
        curves={
            line.name: {f"{x:.2f}": percent(y) for x, y in zip(line.xs, line.ys, strict=True)}
            for line in threshold_lines(runs)
        },
    )


def _subtitle(runs: Sequence[Run]) -> str:
    # the last step tells: the first ones may be copies of another recipe's
    recipes = dict.fromkeys(run.steps[-1].manifest.recipe or "steps started by hand" for run in runs)
    classes = len(runs[0].steps[0].manifest.classes["names"])
    return f"{', '.join(recipes)}; {classes} class{'es' * (classes > 1)} and background"
