"""What a run is made of, and the file ``run.json`` in which its folder remembers it."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tag2mask.artifacts import RUN_NAME, atomic_write_json, closed_file
from tag2mask.artifacts.trouble import first_fault
from tag2mask.core.errors import UserError
from tag2mask.core.library import FULL
from tag2mask.core.recipe_names import join_label
from tag2mask.core.weight_files import NO_FILE, check_weight_file

# what may lie in a run folder before its first step: the lock, and the files of its jobs
_OURS = re.compile(r"\..*|slurm")


@dataclass(frozen=True)
class Settings:
    """What the whole run shares; None where the recipe's own value holds.

    Attributes:
        recipe: name of the recipe, or the path of its page.
        variant: name of the variant, "" for none.
        data: name of a data configuration, or the path of one.
        data_root: folder of the data set.
        dataset: class path and class list of the data set, read from the data configuration.
        tags: CSV of tags.
        budget: full, or another budget that the recipe has.
        backbone: name of the network that the steps build on, or the path of its settings.
        weights: imagenet, none, or a path.
        seed: for everything random.
        rounds: how often a recipe repeats the steps of a round.
        val_labels: whether maps and labels of val are made and scored too.
    """

    recipe: str
    variant: str = ""
    data: str | None = None
    data_root: str | None = None
    dataset: dict[str, Any] | None = None
    tags: str | None = None
    budget: str | None = None
    backbone: str | None = None
    weights: str | None = None
    seed: int | None = None
    rounds: int | None = None
    val_labels: bool | None = None

    @property
    def label(self) -> str:
        """``recipe`` or ``recipe:variant``."""
        return join_label(self.recipe, self.variant)


_FIXED = {
    "data": "data set",
    "data_root": "data root",
}
_MOVED = {"data_root": "data", "data": "data configuration", "recipe": "page"}
"""What may lie in another place now, and the run go on: key of ``run.json`` -> what to call it."""
_FREE = ("tags", "budget", "backbone", "weights", "seed", "rounds", "val_labels")


def absolute(path: str | None) -> str | None:
    """The path without links and relative parts, or None."""
    # not those of Path, which raise RuntimeError for a link that leads to itself and for an unknown home
    return None if path is None else os.path.realpath(os.path.expanduser(path))


def normalise(asked: Settings) -> Settings:
    """The same settings with absolute paths.

    Raises:
        UserError: a file that is named does not exist, or cannot be one of weights.
    """
    require_files(asked)
    weights = asked.weights if asked.weights in NO_FILE else absolute(asked.weights)
    return replace(
        asked,
        recipe=_whole(asked.recipe),
        data=asked.data and _whole(asked.data),
        data_root=absolute(asked.data_root),
        tags=absolute(asked.tags),
        backbone=asked.backbone and _whole(asked.backbone),
        weights=weights,
    )


def require_files(settings: Settings, known: str = "") -> None:
    """Refuse tags and weights that are not there, and weights of an unknown form.

    Args:
        settings: those of a call, or of a run.
        known: the file that remembers them; "" for what was typed.

    Raises:
        UserError: a file that is named does not exist, or cannot be one of weights.
    """
    tags, weights = settings.tags, settings.weights
    if tags is not None and not Path(absolute(tags) or "").is_file():
        raise UserError(f"no file {tags}: --tags takes a CSV of image ids and tags{_moved('tags', known)}")
    if weights not in NO_FILE and not Path(absolute(weights) or "").is_file():
        raise UserError(
            f"no weights {weights}: --weights takes 'imagenet', 'none' or the path of a file"
            f"{_moved('weights', known)}"
        )
    if weights not in NO_FILE:
        check_weight_file(Path(absolute(weights) or ""))


def _moved(name: str, known: str) -> str:
    told = f" (remembered as {name} of {known}; if the same file has moved, say where it is now)"
    return told if known else ""


def _whole(name: str) -> str:
    """A name unchanged, the path of a file made absolute."""
    return str(absolute(name)) if name.endswith((".yaml", ".yml")) else name


def read_run(run_dir: Path) -> Settings | None:
    """The settings that a run folder remembers, or None for a new one.

    Raises:
        UserError: the folder holds other things, or its ``run.json`` is broken.
    """
    path = run_dir / RUN_NAME
    if run_dir.exists() and not run_dir.is_dir():
        raise UserError(f"{run_dir} is a file; choose another --run-dir")
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(plain, dict) or not isinstance(plain.get("recipe"), str):
            raise TypeError("it names no recipe")
        known = {f.name: plain[f.name] for f in fields(Settings) if f.name in plain}
        if empty := [name for name, value in known.items() if _is_blank(value) and name != "variant"]:
            raise TypeError(f"{empty[0]} is empty")
        needed = ["data", "budget"] if known.get("dataset") else ["data"] if "data" in known else []
        if missing := [name for name in needed if known.get(name) is None]:
            raise TypeError(f"{missing[0]} is missing")
        # as JSON, because an object of Python would have to be one of Settings already
        return TypeAdapter(Settings).validate_json(json.dumps(known), strict=True)
    except FileNotFoundError:
        if run_dir.is_dir() and any(not _OURS.fullmatch(entry.name) for entry in run_dir.iterdir()):
            raise UserError(
                f"{run_dir} is not empty and is no run folder; choose another --run-dir"
            ) from None
        return None
    except PermissionError as error:
        raise closed_file(error) from error
    except ValidationError as error:
        raise _unreadable(path, first_fault(error)) from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _unreadable(path, str(error)) from error


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(f"cannot read {path}: {why}; choose another --run-dir or mend the file")


def write_run(run_dir: Path, settings: Settings) -> None:
    """Remember the settings in the run folder."""
    atomic_write_json(run_dir / RUN_NAME, asdict(settings))


def merge(run_dir: Path, asked: Settings, known: Settings | None) -> Settings:
    """The settings that were asked for, with the others from the run folder.

    Raises:
        UserError: the folder is of another recipe, variant or data set, or no data set is named.
    """
    if known is None:
        if asked.data is None:
            raise UserError(
                "name the data set with --data, e.g. --data shapes (generated, nothing to download)"
            )
        return replace(asked, budget=asked.budget or FULL)
    if asked.label != known.label:
        raise _other(run_dir, "recipe", known.label, asked.label)
    for name, what in _FIXED.items():
        before, now = getattr(known, name), getattr(asked, name)
        if now is not None and now != before:
            raise _other(run_dir, what, before, now)
    filled = {
        f.name: getattr(known, f.name)
        for f in fields(Settings)
        if getattr(asked, f.name) is None and f.name != "dataset"
    }
    return replace(asked, **filled)


def check_dataset(run_dir: Path, settings: Settings, known: Settings | None) -> None:
    """Refuse a run folder if its data configuration now names another data set.

    Raises:
        UserError: the class path or the class list has changed.
    """
    if known is None or known.dataset is None or settings.dataset is None:
        return
    for key, what in (("class_path", "kind of data set"), ("classes", "class list")):
        before, now = known.dataset.get(key), settings.dataset.get(key)
        if before != now:
            raise _other(run_dir, what, before, now)


def changes(settings: Settings, known: Settings | None) -> list[str]:
    """One line for every setting that differs from what the run folder remembers."""
    if known is None:
        return []
    pairs = [(name, getattr(known, name), getattr(settings, name)) for name in _FREE]
    return [f"{name} {_shown(old)} -> {_shown(new)}" for name, old, new in pairs if old != new]


def _shown(value: Any) -> str:
    return "as in the recipe" if value is None else str(value)


def _other(run_dir: Path, what: str, before: Any, now: Any) -> UserError:
    names = {"data root": "data_root"}
    # the same page in another folder, or on another machine
    if Path(str(before)).name == Path(str(now)).name:
        names |= {"data set": "data", "recipe": "recipe"}
    key = names.get(what)
    moved = f" (if the same {_MOVED[key]} has moved, correct {key} in {run_dir / RUN_NAME})" if key else ""
    return UserError(
        f"{run_dir} is a run of another {what}: {_shown(before)}, not {_shown(now)}; "
        f"choose another --run-dir{moved}; nothing was changed"
    )
