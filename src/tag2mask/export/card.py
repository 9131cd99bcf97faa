"""The model card: what a network is, what it was trained on, how good it is and what it is not for."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tag2mask.artifacts import read_scorecard
from tag2mask.artifacts.run_folder import read_configuration
from tag2mask.core.layers import value_at
from tag2mask.core.tables import Table, percent
from tag2mask.export.source import Source
from tag2mask.report.pictures import as_hex
from tag2mask.report.runs import Run, read_runs
from tag2mask.report.scores import alarm_table, score_table
from tag2mask.report.settings import settings_table

_SPECIAL = re.compile(r"([\\`*_\[\]|#])")
_PATHS = ("data root", "tags", "weights", "backbone", "data", "recipe")
"""Settings that may be paths of one machine: a card shows the last part only."""


def model_card(source: Source, facts: Mapping[str, Any], files: Mapping[str, str], checks: Table) -> str:
    """The card in Markdown, as model hubs show it.

    Args:
        source: what is exported.
        facts: see `tag2mask.export.source.facts`.
        files: name of each exported file -> what it is.
        checks: how the files agree with the checkpoint.

    Returns:
        a whole page. Names from the run are escaped for Markdown and HTML, and no folder of this machine
        is named.

    Raises:
        UserError: a file of the run is broken.
    """
    runs = [] if source.run is None else read_runs([source.run])
    tables = (
        [score_table(runs), alarm_table(runs), _per_class(source, runs[0]), _settings(runs)] if runs else []
    )
    scorecard = read_scorecard(source.run) if source.run else {}
    training, weak = _training(source, runs)
    page = Environment(
        loader=PackageLoader("tag2mask.export"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("model_card.md")
    return page.render(
        facts=facts,
        classes=[_class_row(entry) for entry in facts["classes"]],
        title=_plain(scorecard.get("title") or ""),
        paper=_plain((scorecard.get("paper") or {}).get("citation") or ""),
        recipe=_plain(facts["recipe"]),
        training=training,
        weak=weak,
        files=files,
        tables=[_markdown(table) for table in tables if table.rows],
        checks=_markdown(checks),
    )


def _training(source: Source, runs: list[Run]) -> tuple[list[str], bool]:
    """Sentences on the data and the labels, and whether tags are all that people gave."""
    if source.manifest is None or not runs:
        return ["Nothing is known of the training: the checkpoint lay outside a run."], True
    data = source.manifest.data
    given = data.get("init_args") or {}
    # a table's own root is not kept: its folders are written out
    folder = _last(given.get("root") or runs[0].settings.get("data_root") or given.get("images") or "")
    step = runs[0].step(source.manifest.step)
    settings = value_at(read_configuration(step.folder), "data.init_args") or {} if step else {}
    labels, weak = "the tags of the images", True
    if settings.get("supervision", "pseudo") != "pseudo":
        labels, weak = "the data set's own masks", False
    elif settings.get("labels_dir"):
        labels = f"label maps that the step {_plain(_last(settings['labels_dir']))} made from tags"
    name = _plain(str(data.get("class_path", "")).rpartition(".")[2])
    where = f", folder {_plain(folder)}" if folder else ""
    return [f"Data set: {name}{where}.", f"It was trained on {labels}."], weak


def _per_class(source: Source, run: Run) -> Table:
    step = run.step(source.manifest.step) if source.manifest else None
    shares = (step.score or {}).get("per_class", {}) if step else {}
    rows = [[name, percent(share)] for name, share in shares.items()]
    return Table(["class", "IoU"], rows, "Intersection over union per class", "In percent.")


def _settings(runs: list[Run]) -> Table:
    table = settings_table(runs)
    rows = [[row[0], *(_last(cell) if row[0] in _PATHS else cell for cell in row[1:])] for row in table.rows]
    return Table(table.header, rows, table.title, table.note)


def _class_row(entry: Mapping[str, Any]) -> list[str]:
    return [str(entry["index"]), _plain(entry["name"]), str(entry["id"]), as_hex(entry["colour"])]


def _markdown(table: Table) -> str:
    cells = [[_plain(cell) for cell in row] for row in table.rows]
    text = Table([_plain(cell) for cell in table.header], cells).markdown()
    title = f"### {table.title}\n\n" if table.title else ""
    return title + text + (f"\n\n{_plain(table.note)}" if table.note else "")


def _plain(text: str) -> str:
    """Text that neither Markdown nor HTML reads as anything but text, on one line."""
    return _SPECIAL.sub(r"\\\1", html.escape(" ".join(str(text).split()), quote=False))


def _last(path: str) -> str:
    return str(path).replace("\\", "/").rstrip("/").rpartition("/")[2]
