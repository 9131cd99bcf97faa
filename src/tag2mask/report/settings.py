"""The table of what a run was made with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tag2mask.artifacts import backbone_of
from tag2mask.core.tables import NOTHING, Table, duration
from tag2mask.report.runs import Run, read_config
from tag2mask.report.tables import by_run


def settings_table(runs: Sequence[Run]) -> Table:
    """What each run was made with, and how long it took."""
    return by_run("Settings", runs, _setting_cells)


def _setting_cells(run: Run) -> Iterator[tuple[str, str]]:
    first = run.steps[0].manifest
    chosen = {k: v for k, v in run.settings.items() if v not in (None, "") and k not in ("dataset", "recipe")}
    variant = chosen.pop("variant", "")
    yield "recipe", f"{first.recipe or NOTHING}{f':{variant}' if variant else ''}"
    yield "classes", ", ".join(first.classes["names"])
    for key, value in chosen.items():
        yield key.replace("_", " "), str(value)
    yield from _config_cells(run)
    for step in run.steps:
        yield f"time of {step.name}", duration(step.seconds)
    yield "time of all steps", duration(sum(step.seconds for step in run.steps))
    peak = max((r.peak_memory_mb for s in run.steps for r in s.manifest.commands.values()), default=0.0)
    yield "peak memory", f"{peak:.0f} MB" if peak else NOTHING
    last = run.steps[-1].manifest
    yield "commit", last.commit[:12] or NOTHING
    yield "versions", ", ".join(f"{name} {version}" for name, version in last.versions.items()) or NOTHING


def _config_cells(run: Run) -> Iterator[tuple[str, str]]:
    """How each step was trained, from its saved configuration."""
    for step in run.steps:
        config = read_config(step) if "fit" in step.manifest.commands else {}
        backbone = backbone_of(config)
        trainer = config.get("trainer") or {}
        epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps")
        said = [
            backbone.get("name", ""),
            f"weights {Path(backbone['weights']).name}" if "weights" in backbone else "",
            f"{epochs} epochs" if isinstance(epochs, int) and epochs > 0 else "",
            f"{steps} steps" if isinstance(steps, int) and steps > 0 else "",
            f"seed {config['seed_everything']}" if type(config.get("seed_everything")) is int else "",
        ]
        if any(said):
            yield f"training of {step.name}", ", ".join(word for word in said if word)
