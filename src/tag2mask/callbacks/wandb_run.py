"""The Weights & Biases logger; its run id is kept in the step's folder."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger

from tag2mask.artifacts import refuse_secrets, wandb_identity, wandb_mode, wandb_project
from tag2mask.artifacts.tracking import WANDB_PROJECT
from tag2mask.core import UserError


class WandbRun(WandbLogger):
    """A wandb run for each step, which later processes go on with: group = run folder, job type = step.

    Offline, ``wandb sync`` uploads later. Its config is the step's resolved settings.

    Args:
        step_dir: the step's folder; the command line sets it.
        project: wandb project.
        offline: true or false; null takes WANDB_MODE, else offline without a key or a login.
        kwargs: further arguments of ``wandb.init``, such as ``tags`` or ``entity``.

    Raises:
        UserError: a key is among the arguments, which are saved with the run.
    """

    def __init__(
        self,
        step_dir: str | None = None,
        project: str = WANDB_PROJECT,
        offline: bool | None = None,
        **kwargs: Any,
    ) -> None:
        refuse_secrets(kwargs)
        folder = Path(step_dir or ".").resolve()
        identity = wandb_identity(folder)
        self._has_settings = bool(identity["config"])
        mode = wandb_mode(offline)
        if mode == "disabled":  # the logger knows online and offline only
            identity["mode"] = mode
        super().__init__(
            project=wandb_project(project),
            save_dir=str(folder),
            offline=mode == "offline",
            **{**identity, **kwargs},
        )

    @property
    def experiment(self) -> Any:
        """The run of wandb, which begins when it is first asked for.

        Raises:
            UserError: wandb refuses the account, or a name.
        """
        import wandb  # which takes a second, and belongs to the process that logs

        try:
            return super().experiment
        except wandb.Error as error:
            raise UserError(
                f"Weights & Biases: {error}; mend that, or write files only (WANDB_MODE=offline)"
            ) from error

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Add the module's arguments where no settings are known: these hold them already."""
        if not self._has_settings:
            super().log_hyperparams(params)
