"""One step of a run as a plain LightningCLI: its options, its identity and its messages."""

from tag2mask.stage.cli import StageCLI, main

__all__ = ["StageCLI", "main"]
