"""The folder of an earlier step, as an argument of modules and data modules.

Not part of ``tag2mask.artifacts``'s own names: the runner reads artifacts without jsonargparse.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from jsonargparse.typing import register_type

from tag2mask.artifacts.manifest import Manifest, manifest_hash, require_step
from tag2mask.core.classes import ClassList


class StepFolder:
    """The folder of an earlier step: the type of every argument that reads what another step left.

    The command line finds the parents of a step by this type. As text it is what was given.

    Args:
        path: RUN/STEP.
    """

    __slots__ = ("_given", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._given = os.fspath(path)
        self.path = Path(self._given)

    @property
    def name(self) -> str:
        """The step's name."""
        return self.path.name

    @property
    def out(self) -> Path:
        """Where its results lie."""
        return self.path / "out"

    def require(self, kinds: Collection[str] | None = None, classes: ClassList | None = None) -> Manifest:
        """The manifest of the finished step, checked as by `require_step`."""
        return require_step(self.path, kinds, classes)

    def hash(self) -> str:
        """The hash of its manifest: steps that read this one note it, to tell when it is made anew."""
        return manifest_hash(self.path)

    def __fspath__(self) -> str:
        return self._given

    def __str__(self) -> str:
        return self._given

    def __repr__(self) -> str:
        return f"StepFolder({self._given!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StepFolder) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)


register_type(StepFolder, serializer=str, deserializer=StepFolder)
