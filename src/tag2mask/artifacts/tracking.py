"""Who a step is in Weights & Biases: known by all processes that log to it, without importing wandb."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tag2mask.artifacts.files import atomic_write_text
from tag2mask.artifacts.names import SETTINGS_NAME, WANDB_ID_NAME
from tag2mask.core.errors import UserError
from tag2mask.core.pages import read_page


def wandb_identity(step_dir: str | Path) -> dict[str, Any]:
    """Arguments of ``wandb.init`` that make a step one run: a second process with them goes on with it.

    Args:
        step_dir: the step's folder; its name is the job type, that of the run folder the group.

    Returns:
        name, group, job type, id (kept in the folder), and the step's resolved settings as config.
    """
    folder = Path(step_dir).resolve()
    return {
        "name": f"{folder.parent.name}/{folder.name}",
        "group": folder.parent.name,
        "job_type": folder.name,
        "id": _kept_id(folder / WANDB_ID_NAME),
        "resume": "allow",
        "config": read_settings(folder),
    }


def read_settings(step_dir: Path) -> dict[str, Any]:
    """The resolved settings that the runner started a step with; {} for one that was started by hand."""
    path = step_dir / SETTINGS_NAME
    return read_page(path).plain if path.is_file() else {}


def is_offline(asked: bool | None) -> bool:
    """Whether wandb shall work offline: as asked, else by WANDB_MODE, else without a key or a login."""
    if asked is not None:
        return asked
    if mode := os.environ.get("WANDB_MODE"):
        return mode in ("offline", "dryrun", "disabled")
    if "WANDB_API_KEY" in os.environ:
        return False
    try:  # a container's user may have no home, or one that it may not look into
        logins = Path(os.environ.get("NETRC") or os.path.expanduser("~/.netrc")).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return True
    return "wandb" not in logins


def refuse_secrets(options: Mapping[str, Any]) -> None:
    """Refuse an account's key among options, which are saved with the run.

    Raises:
        UserError: there is one.
    """
    for name, value in options.items():
        if "key" in name.lower().split("_"):
            raise UserError(
                f"{name} would be saved in the run's files: set WANDB_API_KEY, or use `wandb login`"
            )
        if isinstance(value, Mapping):
            refuse_secrets(value)


def _kept_id(path: Path) -> str:
    if path.is_file():
        return path.read_text(encoding="utf-8").strip()
    fresh = uuid.uuid4().hex[:12]
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, fresh + "\n")
    return fresh
