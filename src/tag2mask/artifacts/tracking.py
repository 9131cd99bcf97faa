"""Who a step is in Weights & Biases: known by all processes that log to it, without importing wandb."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tag2mask.artifacts.files import atomic_write_text
from tag2mask.artifacts.names import SETTINGS_NAME, WANDB_ID_NAME
from tag2mask.core.errors import UserError
from tag2mask.core.pages import read_page

WandbMode = Literal["online", "offline", "disabled"]
WANDB_PROJECT = "tag2mask"
"""The project where none is named."""
_MODES: dict[str, WandbMode] = {
    "online": "online", "run": "online", "shared": "online",
    "offline": "offline", "dryrun": "offline", "disabled": "disabled",
}  # fmt: skip


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


def wandb_mode(asked: bool | None) -> WandbMode:
    """How wandb shall work: as asked, else by WANDB_MODE, else offline without a key or a login.

    Args:
        asked: whether offline; None where nobody said.

    Raises:
        UserError: WANDB_MODE is no mode of wandb.
    """
    if asked is not None:
        return "offline" if asked else "online"
    if given := os.environ.get("WANDB_MODE", "").strip().lower():
        if given not in _MODES:
            raise UserError(f"WANDB_MODE is {given!r}: set it to online, offline or disabled, or unset it")
        return _MODES[given]
    return "online" if os.environ.get("WANDB_API_KEY") or _has_login() else "offline"


def _has_login() -> bool:
    try:  # a container's user may have no home, or one that it may not look into
        logins = Path(os.environ.get("NETRC") or os.path.expanduser("~/.netrc")).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return "wandb" in logins


def wandb_project(asked: str) -> str:
    """The project: as asked, but WANDB_PROJECT, which agents of sweeps set, in place of the default."""
    return (os.environ.get("WANDB_PROJECT") if asked == WANDB_PROJECT else None) or asked


@contextmanager
def wandb_files_in(folder: Path) -> Iterator[None]:
    """Let wandb keep the files of artifacts in a folder: else they lie in the home, where others miss them.

    WANDB_DATA_DIR says otherwise.
    """
    if os.environ.get("WANDB_DATA_DIR"):
        yield
        return
    os.environ["WANDB_DATA_DIR"] = str(folder.resolve())
    try:
        yield
    finally:
        os.environ.pop("WANDB_DATA_DIR", None)


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
    if path.is_file() and (known := path.read_text(encoding="utf-8").strip()):
        return known
    fresh = uuid.uuid4().hex[:12]
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, fresh + "\n")
    return fresh
