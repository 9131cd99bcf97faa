"""The tables of scores: per step, and what the networks measured themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tag2mask.core.tables import NOTHING, Table, metric, percent
from tag2mask.report.runs import Run, Step, title_of
from tag2mask.report.tables import by_run

NOTE = "In percent. Strict: unknown pixels are wrong ones. F-score: of mean precision and mean recall."
PAPER_NOTE = (
    " Paper: mIoU as printed there, on the paper's data, backbone and schedule; other data has other numbers."
)
NUMBERS = {
    "precision": "precision",
    "recall": "recall",
    "F-score": "f_score",
    "coverage": "coverage",
    "strict mIoU": "strict_miou",
}
"""Columns behind the threshold, by the score that they show."""
SWEEP_NOTE = " A best threshold was chosen with the true masks: an upper bound."


def score_table(runs: Sequence[Run]) -> Table:
    """The mIoU and label quality of each step: all numbers of a single run, or one column per run."""
    swept = any((s.score or {}).get("best_threshold") is not None for run in runs for s in run.steps)
    note = NOTE + (PAPER_NOTE if _paper(runs) else "") + (SWEEP_NOTE if swept else "")
    if len(runs) > 1:
        table = by_run("Scores", runs, _score_cells, note)
        printed = _paper_cells(runs)
        rows = [[*row, printed.get(str(row[0]), NOTHING)] for row in table.rows]
        return replace(table, header=[*table.header, "paper"], rows=rows) if printed else table
    paper = runs[0].paper
    header = ["step", "split", "images", "mIoU", *(["paper"] if paper else []), "threshold", *NUMBERS]
    rows = [row for step in runs[0].steps if step.scored for row in _step_rows(step, paper)]
    return Table(header, rows, "Scores", note if rows else "")


def alarm_table(runs: Sequence[Run], folders: bool = False) -> Table:
    """What is suspicious about a step, found without masks, and what to do; no rows where nothing is.

    Args:
        runs: the runs.
        folders: name the runs' folders in commands as they were given; else as `Run.called` does.
    """
    rows = [
        [title_of(step, run, runs), alarm.text, run.advice(alarm, run.folder if folders else run.called)]
        for run in runs
        for step in run.steps
        for alarm in step.alarms
    ]
    return Table(["step", "seen", "what to do"], rows, "Alarms")


def metric_table(runs: Sequence[Run], per_class: bool = False) -> Table:
    """What the networks measured themselves on the validation images, such as the mAP of the tags.

    Args:
        runs: the runs to compare.
        per_class: the values of single classes, not those over all of them.
    """
    title = "Per class" if per_class else "Validation of the networks"
    return by_run(title, runs, lambda run: _metric_cells(run, per_class))


def _step_rows(step: Step, paper: Mapping[str, float]) -> Iterator[list[str]]:
    for index, (label, part) in enumerate(_parts(step)):
        threshold = part.get("threshold")
        target = [f"{paper[step.name]:.1f}" if step.name in paper and not index else NOTHING]
        yield [
            f"{step.name}{label}",
            step.manifest.split,
            str((step.score or {}).get("images", NOTHING)),
            percent(part.get("miou")),
            *(target if paper else []),
            NOTHING if threshold is None else f"{threshold:.2f}",
            *(percent(part.get(name)) for name in NUMBERS.values()),
        ]


def _score_cells(run: Run) -> Iterator[tuple[str, str]]:
    for step in run.steps:
        if not step.scored:
            continue
        for label, part in _parts(step):
            at = part.get("threshold")
            cut = "" if at is None else f" at {at:.2f}"
            yield f"{step.name}{label}: mIoU", f"{percent(part.get('miou'))}{cut}"
        if step.manifest.kind in ("labels", "affinity_labels"):
            for name in ("precision", "coverage"):
                yield f"{step.name}: {name}", percent((step.score or {}).get(name))


def _parts(step: Step) -> Iterator[tuple[str, dict[str, Any]]]:
    """The results of a scored step that have a line of their own, the headline first."""
    score = step.score or {}
    if score.get("best_threshold") is not None:
        yield ", fixed threshold", score
        yield ", best threshold", {"miou": score.get("best_miou"), "threshold": score["best_threshold"]}
        return
    for name, part in (score.get("variants") or {"": score}).items():
        yield f", {name.replace('_', ' ')}" if name else "", part


def _paper_cells(runs: Sequence[Run]) -> dict[str, str]:
    """The paper's number for the first row of each step."""
    paper = _paper(runs)
    steps = {s.name: s for run in runs for s in run.steps if s.scored and s.name in paper}
    return {f"{name}{next(iter(_parts(s)))[0]}: mIoU": f"{paper[name]:.1f}" for name, s in steps.items()}


def _paper(runs: Sequence[Run]) -> dict[str, float]:
    """The paper's numbers where all runs have the same ones."""
    return runs[0].paper if all(run.paper == runs[0].paper for run in runs) else {}


def _metric_cells(run: Run, per_class: bool) -> Iterator[tuple[str, str]]:
    for step in run.steps:
        for name, value in ((step.score or {}).get("metrics") or {}).items():
            if name == "cam_threshold" or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if (name.count("/") > 1) == per_class:
                yield f"{step.name}: {name}", metric(name, value)
