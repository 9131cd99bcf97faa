"""``scorecard.json``: the scores of a run's finished steps in one file; and how the runner prints them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tag2mask.artifacts import (
    SCORECARD_NAME,
    Manifest,
    atomic_write_json,
    backbone_of,
    config_name,
    read_alarms,
    read_manifest,
    read_score,
)
from tag2mask.core.pages import read_page
from tag2mask.core.tables import NOTHING, Table, duration, percent
from tag2mask.pipeline.notes import known_json
from tag2mask.pipeline.settings import Settings
from tag2mask.pipeline.state import is_complete
from tag2mask.pipeline.steps import Recipe, Step


def update_scorecard(run_dir: Path, recipe: Recipe, settings: Settings) -> dict[str, Any]:
    """Write the scorecard from the files of the finished steps, and return it.

    Scores are shares in [0, 1], as in each step's ``score.json``; what other tools added beside
    our keys is kept.
    """
    manifests = {s.name: _finished(run_dir, s) for s in recipe.steps}
    done = {name: manifest for name, manifest in manifests.items() if manifest is not None}
    scores = {s.name: read_score(run_dir / s.name) for s in recipe.steps if s.score and s.name in done}
    card = {
        **known_json(run_dir / SCORECARD_NAME),
        "recipe": recipe.name,
        "variant": recipe.variant,
        "title": recipe.title,
        "data": settings.data,
        "budget": settings.budget,
        "backbone": settings.backbone,
        "weights": settings.weights,
        "initial_weights": _initial_weights(run_dir, done),
        "seed": settings.seed,
        "steps": {name: _short(score) for name, score in scores.items() if score is not None},
        "alarms": {name: found for name in done if (found := _alarms(run_dir / name))},
        "seconds": {name: round(manifest.seconds, 1) for name, manifest in done.items()},
        "versions": next((m.versions for m in reversed(done.values())), {}),
        "commit": next((m.commit for m in reversed(done.values())), ""),
        "paper": recipe.paper,
    }
    atomic_write_json(run_dir / SCORECARD_NAME, card)
    return card


def _alarms(step_dir: Path) -> list[dict[str, Any]]:
    return [alarm.to_dict() for alarm in read_alarms(step_dir)]


def _initial_weights(run_dir: Path, done: Mapping[str, Manifest]) -> dict[str, str]:
    """What the backbone of each trained step was built from: more than ImageNet's labels must be seen."""
    found = {}
    for name, manifest in done.items():
        path = run_dir / name / config_name("fit")
        if "fit" in manifest.commands and path.is_file():
            found[name] = backbone_of(read_page(path).plain).get("weights", "")
    return {name: weights for name, weights in found.items() if weights}


def _short(score: Any) -> Any:
    """A score without what only the report draws."""
    if not isinstance(score, dict):
        return score
    return {name: _short(value) for name, value in score.items() if name not in ("confusion", "curve")}


def _finished(run_dir: Path, step: Step) -> Manifest | None:
    folder = run_dir / step.name
    return read_manifest(folder) if is_complete(folder, step) else None


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


def status_line(
    index: int, total: int, name: str, text: str, score: str = "", warnings: Iterable[str] = ()
) -> str:
    """``[3/6] walk  done in 0:45  mIoU 64.0 (train)``, and a line for each warning."""
    line = f"[{index}/{total}] {name}  {text}" + (f"  {score}" if score else "")
    return "\n".join([line, *(f"  ! {warning}" for warning in warnings)])


def alarm_line(card: Mapping[str, Any]) -> str:
    """The last line of a run: which alarms there are; "" for none. The report has printed each of them."""
    alarms: Mapping[str, list[dict[str, Any]]] = card["alarms"]
    names = "; ".join(
        f"{step}: {', '.join(alarm['name'] for alarm in found)}" for step, found in alarms.items()
    )
    return f"alarms ({names}): what was seen and what to do stands above and in the report" if alarms else ""


def unscored_line(card: Mapping[str, Any], run_dir: Path) -> str:
    """How to score the steps that found no masks, should there be some later; "" where all did."""
    names = [name for name, score in card["steps"].items() if (score or {}).get("masks") == 0]
    if not names:
        return ""
    return (
        f"not scored, for there are no masks: {', '.join(names)}; masks that are added later are not "
        f"noticed: score a step with tag2mask score-step {run_dir / names[0]}"
    )


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
                ", ".join(alarm["name"] for alarm in card["alarms"].get(name, [])),
            ]
        )
    header = ["step", "mIoU", "best thr.", "precision", "coverage", "split", "time", "alarms"]
    shown = len(header) if card["alarms"] else -1
    return Table(header[:shown], [row[:shown] for row in rows]).text()
