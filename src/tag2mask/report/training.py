"""How the networks learned: losses and validation over the steps, from what the CSV logger left."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from tag2mask.core import UserError
from tag2mask.core.tables import is_share
from tag2mask.report.charts import Chart, Line, Mark, line_chart
from tag2mask.report.runs import Run, Step, title_of

History = dict[str, list[tuple[int, float]]]
"""Name of a logged value -> pairs of step and value."""

LOSS = "train/loss"


def read_history(step: Step) -> History:
    """What a step logged while it trained, over all its interrupted parts; {} where nothing was kept.

    Raises:
        UserError: a file of the logger is broken.
    """
    history: History = {}
    folders = sorted((step.folder / "logs").glob("version_*"), key=_version)
    for path in (folder / "metrics.csv" for folder in folders):
        if not path.is_file():
            continue
        part = list(_values(path))
        if part:
            first = min(at for _, at, _ in part)  # a part that went on repeats what was not saved
            history = {k: [v for v in values if v[0] < first] for k, values in history.items()}
        for name, at, value in part:
            history.setdefault(name, []).append((at, value))
    return {name: values for name, values in history.items() if values}


def training_charts(runs: Sequence[Run]) -> list[Chart]:
    """The curves of every step that trained: one chart of losses, one of shares on the validation images."""
    names = dict.fromkeys(step.name for run in runs for step in run.steps)
    charts = []
    for name in names:
        found = [(run.name, read_history(s)) for run in runs if (s := run.step(name)) is not None]
        histories = [(run, history) for run, history in found if history]
        if len(runs) == 1:
            charts += [chart for _, history in histories for chart in _of_one(name, history)]
        else:
            charts += list(_side_by_side(name, histories))
    return charts


def threshold_lines(runs: Sequence[Run]) -> list[Line]:
    """Mean IoU in [0, 1] of the maps of every run and step over the background threshold."""
    lines = []
    for run in runs:
        for step in run.steps:
            curve = (step.score or {}).get("curve") or {}
            if curve.get("miou"):
                lines.append(Line(title_of(step, run, runs), curve["threshold"], curve["miou"]))
    return lines


def threshold_chart(runs: Sequence[Run]) -> Chart | None:
    """`threshold_lines` with a mark at the threshold that was used; None without masks."""
    lines = threshold_lines(runs)
    if not lines:
        return None
    used = next(s.cam_threshold for run in runs for s in run.steps if (s.score or {}).get("curve"))
    title, marks = "mIoU in percent, by threshold", [Mark("used", used)]
    return line_chart(title, lines, "background threshold", share=True, marks=marks, highest=True)


def _of_one(step: str, history: History) -> Iterator[Chart]:
    losses = {k: v for k, v in history.items() if k.startswith("train/") and len(v) > 1}
    if losses:
        ordered = sorted(losses, key=lambda name: name != LOSS)
        yield line_chart(
            f"{step}: training", [_line(k.partition("/")[2], losses[k]) for k in ordered], "step"
        )
    shares = {k: v for k, v in history.items() if _is_validation(k) and len(v) > 1}
    if shares:
        lines = [_line(k.partition("/")[2], v) for k, v in shares.items()]
        yield line_chart(f"{step}: validation, in percent", lines, "step", share=True)


def _side_by_side(step: str, histories: Sequence[tuple[str, History]]) -> Iterator[Chart]:
    names = dict.fromkeys(k for _, history in histories for k in history if k == LOSS or _is_validation(k))
    for name in names:
        lines = [_line(run, h[name]) for run, h in histories if len(h.get(name, ())) > 1]
        if lines:
            share = name != LOSS
            title = f"{step}: {name}" + (", in percent" if share else "")
            yield line_chart(title, lines, "step", share=share)


def _is_validation(name: str) -> bool:
    """Whether a value is a share over all classes; those of single classes have one more part."""
    return name.startswith("val/") and name.count("/") == 1 and is_share(name)


def _line(name: str, values: Sequence[tuple[int, float]]) -> Line:
    ordered = sorted(values)
    return Line(name, [float(at) for at, _ in ordered], [value for _, value in ordered])


def _version(folder: Path) -> int:
    number = folder.name.rpartition("_")[2]
    return int(number) if number.isdecimal() else -1


def _values(path: Path) -> Iterator[tuple[str, int, float]]:
    """Name, step and value of each cell of a file that is a finite number."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                at = row.get("step")
                for name, text in row.items():
                    if at and text and isinstance(name, str) and name.startswith(("train/", "val/")):
                        value = float(text)
                        if math.isfinite(value):
                            yield name, int(at), value
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}") from error
