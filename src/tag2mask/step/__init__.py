"""One step of a run as a plain LightningCLI: its options, its identity and its messages."""

from tag2mask.step.cli import StepCLI, main

__all__ = ["StepCLI", "main"]
