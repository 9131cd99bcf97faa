"""The tables of scores: per step, per class, and what the networks measured themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tag2mask.artifacts import read_alarms
from tag2mask.core.tables import NOTHING, Table, duration, metric, percent
from tag2mask.report.runs import Run, Step
from tag2mask.report.tables import by_run

NOTE = "mIoU, precision and coverage in percent."
SWEEP_NOTE = " A best threshold was chosen with the true masks: an upper bound."


def score_table(runs: Sequence[Run]) -> Table:
    """The mIoU and label quality of each step: all numbers of a single run, or one column per run."""
    swept = any((s.score or {}).get("best_threshold") is not None for run in runs for s in run.steps)
    note = NOTE + (SWEEP_NOTE if swept else "") + _why(runs)
    if len(runs) > 1:
        return by_run("Scores", runs, _score_cells, note)
    header = ["step", "split", "images", "mIoU", "threshold", "precision", "coverage", "time"]
    return Table(header, [row for step in runs[0].steps for row in _step_rows(step)], "Scores", note)


def alarm_table(runs: Sequence[Run]) -> Table:
    """What is suspicious about a step, found without masks, and what to do; no rows where nothing is."""
    rows = [
        [step.name if len(runs) == 1 else f"{run.name}: {step.name}", alarm.text, alarm.todo]
        for run in runs
        for step in run.steps
        for alarm in read_alarms(step.folder)
    ]
    return Table(["step", "seen", "what to do"], rows, "Alarms")


def class_table(runs: Sequence[Run]) -> Table:
    """Intersection over union of each class after each scored step."""
    scores = [
        (step.name if len(runs) == 1 else f"{run.name}: {step.name}", (step.score or {}).get("per_class", {}))
        for run in runs
        for step in run.steps
        if step.scored
    ]
    names: dict[str, None] = {}
    for _, per_class in scores:
        names.update(dict.fromkeys(per_class))
    header = ["class", *(heading for heading, _ in scores)]
    rows = [[name, *(percent(per_class.get(name)) for _, per_class in scores)] for name in names]
    note = f"In percent, at fixed thresholds. {NOTHING}: the images have no pixel of the class."
    return Table(header, rows, "Intersection over union per class", note if rows else "Not scored.")


def metric_table(runs: Sequence[Run]) -> Table:
    """What the networks measured themselves on the validation images, such as the mAP of the tags."""
    return by_run("Validation of the networks", runs, _metric_cells)


def _step_rows(step: Step) -> Iterator[list[str]]:
    time = duration(step.seconds)
    if not step.scored:
        split = step.manifest.split or NOTHING
        yield [step.name, split, NOTHING, _state(step), NOTHING, NOTHING, NOTHING, time]
        return
    for index, (label, part) in enumerate(_parts(step)):
        numbers = [percent(part.get(name)) for name in ("precision", "coverage")]
        threshold = part.get("threshold")
        yield [
            f"{step.name}{label}",
            step.manifest.split,
            str((step.score or {}).get("images", NOTHING)),
            percent(part.get("miou")),
            NOTHING if threshold is None else f"{threshold:.2f}",
            *numbers,
            "" if index else time,
        ]


def _score_cells(run: Run) -> Iterator[tuple[str, str]]:
    for step in run.steps:
        if not step.scored:
            if step.manifest.kind != "checkpoint":
                yield f"{step.name}: mIoU", _state(step)
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


def _state(step: Step) -> str:
    if not step.manifest.complete:
        return "not finished"
    return NOTHING if step.manifest.kind == "checkpoint" else "not scored"


def _why(runs: Sequence[Run]) -> str:
    reasons = {
        str(step.score["why"])
        for run in runs
        for step in run.steps
        if step.score and step.score.get("why") and step.manifest.kind != "checkpoint"
    }
    return f" Not scored: {'; '.join(sorted(reasons))}." if reasons else ""


def _metric_cells(run: Run) -> Iterator[tuple[str, str]]:
    for step in run.steps:
        for name, value in ((step.score or {}).get("metrics") or {}).items():
            if name != "cam_threshold" and isinstance(value, int | float) and not isinstance(value, bool):
                yield f"{step.name}: {name}", metric(name, value)
