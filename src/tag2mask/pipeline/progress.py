"""The lines that the runner prints: one per step, and the table at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tag2mask.core.tables import NOTHING, Table, duration, percent


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


def score_table(card: Mapping[str, Any], steps: Sequence[str]) -> str:
    """The final table of a run, in percent, from its scorecard."""
    rows = []
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
                str(score.get("split") or NOTHING),
                duration(card["seconds"][name]),
            ]
        )
    return Table(["step", "mIoU", "best thr.", "precision", "coverage", "split", "time"], rows).text()
