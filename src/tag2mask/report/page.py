"""The HTML page of a report: one file, nothing loaded from elsewhere, every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tag2mask import __version__
from tag2mask.core import IGNORE
from tag2mask.report.clusters import cluster_section
from tag2mask.report.gallery import Picture, Row, choose_images, image_rows
from tag2mask.report.pictures import hex_colour
from tag2mask.report.runs import Run
from tag2mask.report.scores import class_table, metric_table, score_table
from tag2mask.report.settings import settings_table
from tag2mask.report.style import CSS


def build_page(runs: Sequence[Run], images: int = 12) -> str:
    """The report on one run, or on several side by side.

    Args:
        runs: what to report on, at least one.
        images: how many images to show.

    Returns:
        a whole HTML document without scripts or outside resources.

    Raises:
        UserError: a saved configuration is broken.
    """
    title = "tag2mask: " + ", ".join(run.name for run in runs)
    tables = [table.html() for table in (score_table(runs), class_table(runs)) if table.rows]
    metrics = metric_table(runs)
    body = [
        f"<header><h1>{escape(title)}</h1><p>{escape(_subtitle(runs))}</p></header>",
        *tables,
        *([metrics.html()] if metrics.rows else []),
        _gallery(runs, images) if images else "",
        cluster_section(runs) if images else "",
        settings_table(runs).html(),
        f"<footer>Made with tag2mask {escape(__version__)}.</footer>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>\n<body><main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main></body></html>\n"
    )


def _subtitle(runs: Sequence[Run]) -> str:
    recipes = dict.fromkeys(run.steps[0].manifest.recipe or "steps started by hand" for run in runs)
    classes = len(runs[0].steps[0].manifest.classes["names"])
    return f"{', '.join(recipes)}; {classes} classes and background"


def _gallery(runs: Sequence[Run], count: int) -> str:
    shown = [_image(rows, len(runs) > 1) for rows in image_rows(runs, choose_images(runs, count)) if rows]
    if not shown:
        return ""
    return f"<section><h2>Images</h2>{_legend(runs)}{''.join(shown)}</section>"


def _legend(runs: Sequence[Run]) -> str:
    entries = {0: "background (shows the image)"}
    for run in runs:
        classes = run.steps[0].manifest.class_list()
        entries.update(zip(classes.ids, classes.names, strict=True))
    entries[IGNORE] = "unknown or not scored"
    items = "".join(
        f'<li><span class="swatch" style="background:{hex_colour(mask_id)}"></span>{escape(name)}</li>'
        for mask_id, name in entries.items()
    )
    return f'<ul class="legend">{items}</ul>'


def _image(rows: Sequence[Row], several: bool) -> str:
    first = rows[0]
    tags = f" · tags: {first.tags}" if first.tags else ""
    about = f"{first.split}{tags}" if first.split else tags.removeprefix(" · ")
    lines = [f"<h3>{escape(first.image_id)} <span>{escape(about)}</span></h3>"]
    for row in rows:
        if several:
            lines.append(f'<p class="run">{escape(row.run)}</p>')
        lines.append(f'<div class="row">{"".join(_figure(p, row.image_id) for p in row.pictures)}</div>')
    return f'<div class="image">{"".join(lines)}</div>'


def _figure(picture: Picture, image_id: str) -> str:
    caption = escape(picture.caption)
    if picture.uri:
        alt = escape(f"{picture.caption} of {image_id}")
        inner = f'<img src="{picture.uri}" alt="{alt}" loading="lazy">'
    else:
        inner = f'<div class="problem">{escape(picture.problem)}</div>'
    return f"<figure>{inner}<figcaption>{caption}</figcaption></figure>"
