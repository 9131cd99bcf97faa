"""The Weights & Biases logger; its run id is kept in the step's folder."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger

from tag2mask.artifacts import atomic_write_text


class WandbRun(WandbLogger):
    """A wandb run for each step, which a resumed step continues: group = run folder, job type = step.

    Without an account (no ``WANDB_API_KEY`` and no login) it works offline; ``wandb sync`` uploads
    later.

    Args:
        step_dir: the step's folder; the command line sets it.
        project: wandb project.
        offline: true or false; null means offline unless there is an API key.
        kwargs: further arguments of ``wandb.init``, such as ``tags`` or ``entity``.
    """

    def __init__(
        self,
        step_dir: str | None = None,
        project: str = "tag2mask",
        offline: bool | None = None,
        **kwargs: Any,
    ) -> None:
        folder = Path(step_dir or ".").resolve()
        super().__init__(
            project=project,
            name=f"{folder.parent.name}/{folder.name}",
            group=folder.parent.name,
            job_type=folder.name,
            save_dir=str(folder),
            id=_kept_id(folder / "wandb_id.txt"),
            resume="allow",
            offline=not _has_key() if offline is None else offline,
            **kwargs,
        )


def _kept_id(path: Path) -> str:
    if path.is_file():
        return path.read_text().strip()
    fresh = uuid.uuid4().hex[:12]
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, fresh + "\n")
    return fresh


def _has_key() -> bool:
    netrc = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    return "WANDB_API_KEY" in os.environ or (netrc.is_file() and "wandb" in netrc.read_text())
