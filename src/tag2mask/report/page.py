"""The HTML page of a report: one file that loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from tag2mask import __version__
from tag2mask.core import IGNORE
from tag2mask.report import clusters
from tag2mask.report.gallery import choose_images, image_rows
from tag2mask.report.pictures import hex_colour
from tag2mask.report.runs import Run
from tag2mask.report.scores import alarm_table, class_table, metric_table, score_table
from tag2mask.report.settings import settings_table


class LegendEntry(NamedTuple):
    """What a colour of the label maps stands for."""

    colour: str
    name: str


def build_page(runs: Sequence[Run], images: int = 12) -> str:
    """The report on one run, or on several side by side.

    Args:
        runs: what to report on, at least one.
        images: how many images to show; 0 also leaves the sheets of sub-categories out.

    Returns:
        a whole HTML document without scripts or outside resources; every text in it is escaped.

    Raises:
        UserError: a saved configuration is broken.
    """
    tables = (alarm_table(runs), score_table(runs), class_table(runs), metric_table(runs))
    return (
        _templates()
        .get_template("page.html")
        .render(
            title="tag2mask: " + ", ".join(run.name for run in runs),
            subtitle=_subtitle(runs),
            scores=[table for table in tables if table.rows],
            legend=_legend(runs),
            gallery=[rows for rows in image_rows(runs, choose_images(runs, images)) if rows],
            several=len(runs) > 1,
            sheets=clusters.sheets(runs) if images else [],
            across=clusters.ACROSS,
            settings=settings_table(runs),
            version=__version__,
        )
    )


def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("tag2mask.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _subtitle(runs: Sequence[Run]) -> str:
    recipes = dict.fromkeys(run.steps[0].manifest.recipe or "steps started by hand" for run in runs)
    classes = len(runs[0].steps[0].manifest.classes["names"])
    return f"{', '.join(recipes)}; {classes} classes and background"


def _legend(runs: Sequence[Run]) -> list[LegendEntry]:
    names = {0: "background (shows the image)"}
    for run in runs:
        classes = run.steps[0].manifest.class_list()
        names.update(zip(classes.ids, classes.names, strict=True))
    names[IGNORE] = "unknown or not scored"
    return [LegendEntry(hex_colour(mask_id), name) for mask_id, name in names.items()]
