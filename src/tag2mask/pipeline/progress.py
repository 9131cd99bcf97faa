"""The lines that the runner prints: one per step, and the table at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def clock(seconds: float) -> str:
    """``m:ss``, or ``h:mm:ss`` from an hour on."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def percent(share: Any) -> str:
    """A share in [0, 1] in percent with one digit, "-" for none."""
    return f"{100 * share:.1f}" if isinstance(share, int | float) else "-"


def score_text(score: Mapping[str, Any] | None) -> str:
    """The headline of a score in a few words, "" for a step that is not scored.

    A score at a threshold that was chosen with the true masks is named as such.
    """
    if score is None:
        return ""
    metrics = score.get("metrics") or {}
    extra = "".join(f"  {name} {percent(metrics[key])}" for key, name in _metric_names(metrics))
    if not score.get("scored", True):
        return f"not scored: {score.get('why', 'no reason given')}{extra}"
    split = score.get("split") or "all images"
    if score.get("best_miou") is None:
        return f"mIoU {percent(score.get('miou'))} ({split}){extra}"
    fixed = f"at {score.get('threshold')}: {percent(score.get('miou'))}"
    best = f"best threshold {score.get('best_threshold')}"
    return f"mIoU {percent(score['best_miou'])} ({split}, {best}; {fixed}){extra}"


def _metric_names(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key, "mAP") for key in metrics if key.lower() in ("map", "val_map", "val/map")][:1]


def status_line(index: int, total: int, name: str, text: str, score: str = "") -> str:
    """``[3/6] walk  done in 0:45  mIoU 64.0 (train)``."""
    return f"[{index}/{total}] {name}  {text}" + (f"  {score}" if score else "")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equal length in columns; the first row is the head. Numbers stand right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(_cell(row[i], widths[i], i) for i in range(len(row))).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _cell(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column == 0 else text.rjust(width)


def score_table(card: Mapping[str, Any], steps: Sequence[str]) -> str:
    """The final table of a run, in percent, from its scorecard."""
    rows = [["step", "mIoU", "best thr.", "precision", "coverage", "split", "time"]]
    for name in steps:
        if name not in card["seconds"]:
            continue
        score = card["steps"].get(name) or {}
        rows.append(
            [
                name,
                percent(score.get("miou")),
                percent(score.get("best_miou")),
                percent(score.get("precision")),
                percent(score.get("coverage")),
                str(score.get("split") or "-"),
                clock(card["seconds"][name]),
            ]
        )
    return table(rows)
