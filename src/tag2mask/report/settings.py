"""What a run was made with: an overview, and every setting with where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tag2mask.artifacts import ORIGINS_NAME, backbone_of, read_json, read_settings
from tag2mask.artifacts.run_folder import read_configuration
from tag2mask.core.layers import flatten
from tag2mask.core.pages import setting_text
from tag2mask.core.recipe_names import join_label
from tag2mask.core.tables import NOTHING, Table
from tag2mask.report.runs import Run, Step, title_of
from tag2mask.report.tables import by_run


def settings_table(runs: Sequence[Run]) -> Table:
    """What each run was made with."""
    return by_run("Settings", runs, _setting_cells)


def difference_table(runs: Sequence[Run]) -> Table:
    """The settings in which runs differ; no rows for one run alone."""
    table = by_run("What differs between the runs", runs, _all_settings)
    rows = [row for row in table.rows if len(set(row[1:])) > 1]
    return Table(table.header, rows, table.title)


def origin_tables(runs: Sequence[Run]) -> list[Table]:
    """For each step, every setting with its value and the file and line, or option, that it comes from."""
    tables = []
    for run in runs:
        for step in run.steps:
            origins = read_json(step.folder / ORIGINS_NAME) or {}
            rows = [[path, shown, str(origins.get(path, NOTHING))] for path, shown in step_settings(step)]
            title = title_of(step, run, runs)
            tables += [Table(["setting", "value", "from"], rows, title)] if rows else []
    return tables


def step_settings(step: Step) -> Iterator[tuple[str, str]]:
    """Path and value of each setting that the runner started the step with; none for one started by hand."""
    for name, value in flatten(read_settings(step.folder)):
        yield name, setting_text(value)


def _all_settings(run: Run) -> Iterator[tuple[str, str]]:
    for step in run.steps:
        for path, value in step_settings(step):
            yield f"{step.name}.{path}", value


def _setting_cells(run: Run) -> Iterator[tuple[str, str]]:
    first = run.steps[0].manifest
    chosen = {k: v for k, v in run.settings.items() if v not in (None, "") and k not in ("dataset", "recipe")}
    variant = chosen.pop("variant", "")
    yield "recipe", join_label(first.recipe or NOTHING, variant)
    yield "classes", ", ".join(first.classes["names"])
    for key, value in chosen.items():
        yield key.replace("_", " "), str(value)
    yield from _config_cells(run)
    last = run.steps[-1].manifest
    yield "commit", last.commit[:12] or NOTHING
    yield "versions", ", ".join(f"{name} {version}" for name, version in last.versions.items()) or NOTHING


def _config_cells(run: Run) -> Iterator[tuple[str, str]]:
    """How each step was trained, from its saved configuration."""
    for step in run.steps:
        config = read_configuration(step.folder) if "fit" in step.manifest.commands else {}
        backbone = backbone_of(config)
        trainer = config.get("trainer") or {}
        epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps")
        said = [
            backbone.get("name", ""),
            f"weights {Path(backbone['weights']).name}" if "weights" in backbone else "",
            f"{epochs} epoch{'s' * (epochs != 1)}" if isinstance(epochs, int) and epochs > 0 else "",
            f"{steps} steps" if isinstance(steps, int) and steps > 0 else "",
            f"seed {config['seed_everything']}" if type(config.get("seed_everything")) is int else "",
        ]
        if any(said):
            yield f"training of {step.name}", ", ".join(word for word in said if word)
