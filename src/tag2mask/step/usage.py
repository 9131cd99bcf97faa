"""A LightningCLI whose messages are short."""

from __future__ import annotations

from typing import Any

from pytorch_lightning.cli import LightningArgumentParser, LightningCLI


class ShortUsageCLI(LightningCLI):
    """LightningCLI with one line of usage above an error: its own lists the options in 90 lines.

    A subclass sets ``script``, the word that the user typed behind ``tag2mask step``, before its constructor
    calls this one.
    """

    script: str

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        usage = f"tag2mask step {self.script} {subcommand} --config FILE --step-dir RUN/STEP [options]"
        return super()._prepare_subcommand_parser(klass, subcommand, usage=usage, **kwargs)

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """The parser under the name that the user typed."""
        return super().init_parser(**{"prog": f"tag2mask step {self.script}", **kwargs})
