"""Command lines of a run: what it starts, and what ``--dry-run`` prints."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from tag2mask.artifacts import read_score
from tag2mask.core.errors import UserError
from tag2mask.core.library import open_library
from tag2mask.core.pages import read_page
from tag2mask.core.plugins import is_trusted
from tag2mask.pipeline import launchers
from tag2mask.pipeline.expected import outside_line
from tag2mask.pipeline.forecast import Forecast, forecast, sizes_of
from tag2mask.pipeline.prepared import Prepared
from tag2mask.pipeline.request import check_words, dataset_words
from tag2mask.pipeline.scorecard import status_line
from tag2mask.pipeline.tasks import Task, list_tasks

WANDB_LOGGER = "tag2mask.callbacks.WandbRun"
"""With this logger, a run ends with its scores being brought there."""


class RunCommands:
    """Command lines of a run's tasks, for the run and for ``--dry-run``."""

    def __init__(self, prepared: Prepared, program: Sequence[str]) -> None:
        self.prepared = prepared
        self.run_dir = prepared.request.run_dir
        self.program = list(program)
        data_class = str((prepared.settings.dataset or {}).get("class_path", ""))
        trusted = is_trusted(data_class.rpartition(".")[0])
        # The user's --data names it, so the processes that read manifests may import it as well.
        self.data_class = [] if trusted else ["--data-class", data_class]
        self.wrap = launchers.choose(prepared.request.launcher, program)

    def status(self, task: Task, text: str, score: str = "", warnings: Sequence[str] = ()) -> str:
        """The line that is printed for a step."""
        total = len(self.prepared.recipe.steps)
        return status_line(task.number, total, task.plan.step.name, text, score, warnings)

    def outside(self, task: Task) -> str:
        """What to say of a step whose score is not where the paper's is; "" for nothing."""
        recipe = self.prepared.recipe
        scores = {step.name: read_score(self.run_dir / step.name) for step in recipe.steps[: task.number]}
        return outside_line(recipe, self.prepared.settings, scores, task.plan.step.name)

    def check(self) -> list[str]:
        """The command that checks the data set."""
        return [*self.program, *check_words(self.prepared.settings)]

    def forecast(self, tasks: Sequence[Task]) -> Forecast:
        """What the tasks that start something will take.

        Raises:
            UserError: the data set cannot be read.
        """
        words = [*self.program, "data", "sizes", *dataset_words(self.prepared.settings)]
        return forecast(tasks, sizes_of(words), self.run_dir)

    def score(self, task: Task) -> list[str]:
        """The command that scores a step; on every image where the paper's numbers are of every image."""
        every = ["--every-image"] if self.prepared.recipe.paper.get("every_image") else []
        return [*self.program, "score-step", str(task.plan.folder), *every, *self.data_class]

    def report(self) -> list[str]:
        """The command that writes the report."""
        return [*self.program, "report", str(self.run_dir), *self.data_class]

    def track(self) -> list[str]:
        """The command that brings the scores to Weights & Biases; [] where another logger is chosen."""
        name = self.prepared.request.extras.logger
        if not name:
            return []
        path = open_library().find("logger", name)
        logger = (read_page(path).plain.get("trainer") or {}).get("logger")
        if not isinstance(logger, dict) or logger.get("class_path") != WANDB_LOGGER:
            return []
        return [*self.program, "wandb", str(self.run_dir), "--config", str(path), *self.data_class]

    def show(self) -> None:
        """Print every command that would be started, each under a line on its step."""
        if self.prepared.request.check:
            print(shlex.join(self.check()))
        tasks = list_tasks(self.prepared)
        for task in tasks:
            print("# " + self.status(task, task.text))
            known = {name: value for name, value in task.parents.items() if value is not None}
            # a fingerprint includes the inputs' hashes, so it is not known before they are made
            whole = len(known) == len(task.parents)
            for command in task.commands:
                fingerprint = task.plan.fingerprinted(command, known)[0] if whole else "LATER"
                print(shlex.join(self.wrap(task.plan.words(command, fingerprint), task.plan.devices)))
            if task.scores:
                print(shlex.join(self.score(task)))
        for words in (self.report(), self.track()):
            if words:
                print(shlex.join(words))
        if any(task.commands for task in tasks):
            print("\n".join(f"#   {line}".rstrip() for line in self._foretold(tasks)))

    def _foretold(self, tasks: Sequence[Task]) -> list[str]:
        try:
            found = self.forecast(tasks)
        except UserError as error:
            return [f"no estimate: {line}" for line in str(error).splitlines()]
        lines = found.table().text().splitlines()
        try:
            found.require_fit()
        except UserError as error:
            lines += ["does not fit, and would be refused:", *str(error).splitlines()]
        return lines
