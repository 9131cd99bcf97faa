"""Tables whose cells are bars: scores per class, time and memory per step, tags per split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tag2mask.artifacts.run_folder import data_of_now
from tag2mask.core import UserError
from tag2mask.core.tables import NOTHING, duration, percent
from tag2mask.data import ImageSet
from tag2mask.report.runs import Run, Step, title_of

UNTAGGED = "no tag"


class Bar(NamedTuple):
    """A cell: its text, and the length of its bar in percent of the column; None for no bar."""

    text: str
    length: float | None = None


@dataclass(frozen=True)
class BarTable:
    """Rows of bars.

    Attributes:
        title: heading.
        header: one word per column, the first one for the rows' names.
        rows: name of the row, and a bar per further column.
        note: a sentence below.
    """

    title: str
    header: list[str]
    rows: list[tuple[str, list[Bar]]] = field(default_factory=list)
    note: str = ""


def class_bars(runs: Sequence[Run]) -> BarTable:
    """Intersection over union of each class after each scored step."""
    columns = [
        (title_of(step, run, runs), (step.score or {}).get("per_class", {}))
        for run in runs
        for step in run.steps
        if step.scored
    ]
    names = dict.fromkeys(name for _, per_class in columns for name in per_class)
    rows = [(name, [_share(per_class.get(name)) for _, per_class in columns]) for name in names]
    note = f"In percent, at fixed thresholds. {NOTHING}: the images have no pixel of the class."
    title = "Intersection over union per class"
    return BarTable(title, ["class", *(heading for heading, _ in columns)], rows, note)


def cost_bars(runs: Sequence[Run]) -> BarTable:
    """Time and peak memory of each step."""
    names = list(dict.fromkeys(step.name for run in runs for step in run.steps))
    columns: list[tuple[str, list[Bar]]] = []
    for run in runs:
        prefix = f"{run.name}: " if len(runs) > 1 else ""
        steps = [run.step(name) for name in names]
        seconds = [step.manifest.seconds if step else 0.0 for step in steps]
        memory = [_memory(step) if step else 0.0 for step in steps]
        times = _bars(seconds, [duration(s) for s in seconds])
        columns.append((f"{prefix}time", [*times, Bar(duration(sum(seconds)))]))
        peaks = _bars(memory, [f"{mb / 1024:.1f} GB" for mb in memory])
        columns.append((f"{prefix}peak memory", [*peaks, Bar(f"{max(memory) / 1024:.1f} GB")]))
    heads = [*names, "all steps"]
    rows = [(head, [bars[at] for _, bars in columns]) for at, head in enumerate(heads)]
    note = "Start-up of each process included; memory of the GPU where one was used, else of the process."
    return BarTable("Time and memory", ["step", *(name for name, _ in columns)], rows, note)


def tag_bars(run: Run) -> BarTable | None:
    """How many images of each split have each tag; None where the data set is out of reach."""
    splits = list(dict.fromkeys(s.manifest.split for s in run.steps if s.manifest.split))
    try:
        described = next(data_of_now(s.folder, s.manifest.data) for s in run.steps if s.manifest.data)
        dataset = ImageSet.from_description(described)
        ids = {split: dataset.ids(split) for split in splits}
    except (UserError, StopIteration):
        return None
    counts = [_count_tags(dataset, image_ids) for image_ids in ids.values()]
    shown = [*dataset.classes.names, *([UNTAGGED] if any(UNTAGGED in count for count in counts) else [])]
    bars = [_bars([c[name] for name in shown], [str(c[name]) for name in shown]) for c in counts]
    rows = [(name, [column[at] for column in bars]) for at, name in enumerate(shown)]
    header = ["tag", *(f"{split}, {len(image_ids)} images" for split, image_ids in ids.items())]
    return BarTable("Tags", header, rows) if splits else None


def _count_tags(dataset: ImageSet, image_ids: Sequence[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for image_id in image_ids:
        try:
            counts.update(dataset.tag_names(image_id) or [UNTAGGED])
        except UserError:
            counts[UNTAGGED] += 1  # val may have none
    return counts


def _share(value: float | None) -> Bar:
    return Bar(percent(value), None if value is None else round(100 * value, 1))


def _bars(values: Sequence[float], texts: Sequence[str]) -> list[Bar]:
    most = max(values, default=0) or 1
    pairs = zip(values, texts, strict=True)
    return [Bar(text, round(100 * value / most, 1)) if value else Bar(NOTHING) for value, text in pairs]


def _memory(step: Step) -> float:
    return max((record.peak_memory_mb for record in step.manifest.commands.values()), default=0.0)
