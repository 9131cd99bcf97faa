"""The manifest of a step: what lies in its folder, how it was made, and whether it is complete."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tag2mask.artifacts.files import atomic_write_json, safe_join
from tag2mask.artifacts.hashes import sha256_file
from tag2mask.artifacts.kinds import find_kind
from tag2mask.artifacts.trouble import closed_file, first_fault
from tag2mask.core.classes import ClassList
from tag2mask.core.errors import UserError

MANIFEST_NAME = "manifest.json"


class CommandRecord(BaseModel):
    """One command (``fit`` or ``predict``) of a step.

    Attributes:
        complete: it ran to its end.
        fingerprint: hash of everything that the runner gave it; "" when started by hand.
        config_hash: hash of its resolved configuration.
        seconds: time spent, summed over interrupted runs.
        peak_memory_mb: highest memory use of the process (device memory where it has one).
    """

    model_config = ConfigDict(strict=True)

    complete: bool = False
    fingerprint: str = ""
    config_hash: str = ""
    seconds: float = 0.0
    peak_memory_mb: float = 0.0


class Manifest(BaseModel):
    """What a step's folder holds. `complete` is set last, when every result is on disk.

    Attributes:
        step: name of the step.
        kind: name of a registered kind (see `find_kind`).
        recipe: name of the recipe, "" when started by hand.
        classes: `ClassList.to_dict()`.
        data: description of the image set.
        split: name of the split that was predicted, "" if none.
        image_ids: images with a result in ``out/``.
        parents: folder name of each input step -> `manifest_hash` of it.
        commands: one record per command.
        checkpoint: the network that was made, relative to the step's folder, "" if none.
        commit: git commit of the code, "" outside a checkout.
        versions: package -> version.
        complete: all of the above is final.
    """

    model_config = ConfigDict(strict=True)

    step: str
    kind: str
    recipe: str
    classes: dict[str, Any]
    data: dict[str, Any] = Field(default_factory=dict)
    split: str = ""
    image_ids: list[str] = Field(default_factory=list)
    parents: dict[str, str] = Field(default_factory=dict)
    commands: dict[str, CommandRecord] = Field(default_factory=dict)
    checkpoint: str = ""
    commit: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    complete: bool = False

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        try:
            return find_kind(kind).name
        except UserError as error:
            raise ValueError(str(error)) from error

    @field_validator("classes")
    @classmethod
    def _readable_classes(cls, classes: dict[str, Any]) -> dict[str, Any]:
        try:
            ClassList.from_dict(classes)
        except UserError as error:
            raise ValueError(str(error)) from error
        return classes

    @property
    def seconds(self) -> float:
        """Time that the step's commands took, over all interrupted runs."""
        return sum(record.seconds for record in self.commands.values())

    @property
    def trained(self) -> bool:
        """Whether its training ran to its end."""
        return "fit" in self.commands and self.commands["fit"].complete

    def class_list(self) -> ClassList:
        """The classes as a `ClassList`."""
        return ClassList.from_dict(self.classes)


def read_manifest(step_dir: str | os.PathLike[str]) -> Manifest | None:
    """The manifest of a step's folder, or None where there is none.

    Raises:
        UserError: the file is not readable or not a manifest; names the first field that is wrong.
    """
    path = Path(step_dir) / MANIFEST_NAME
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise closed_file(error) from error
    except OSError as error:
        raise _broken(path, str(error)) from error
    except ValidationError as error:
        raise _broken(path, first_fault(error)) from error
    for field in _missing(manifest):
        raise _broken(path, f"{field}: Field required")
    return manifest


def _missing(manifest: Manifest) -> Iterator[str]:
    """Fields that a whole file has: only what the code makes may rely on defaults."""
    yield from sorted(Manifest.model_fields.keys() - manifest.model_fields_set)
    for name, record in manifest.commands.items():
        for field in sorted(CommandRecord.model_fields.keys() - record.model_fields_set):
            yield f"commands.{name}.{field}"


def _broken(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} is not a readable manifest ({why}); move {path.parent} away and run its step again"
    )


def checkpoint_path(step_dir: str | os.PathLike[str], manifest: Manifest) -> Path:
    """The file of the network that a step made; `manifest.checkpoint` must not be "".

    Raises:
        UserError: the manifest names a file outside the step's folder.
    """
    return safe_join(Path(step_dir), manifest.checkpoint)


def write_manifest(step_dir: str | Path, manifest: Manifest) -> None:
    """Write a step's manifest atomically."""
    atomic_write_json(Path(step_dir) / MANIFEST_NAME, manifest.model_dump())


def require_step(
    step_dir: str | os.PathLike[str], kinds: Collection[str] | None = None, classes: ClassList | None = None
) -> Manifest:
    """The manifest of a finished step that another step is about to read.

    Args:
        step_dir: the folder of the step.
        kinds: what it may hold; None for anything.
        classes: the class list that it must have; None for any.

    Raises:
        UserError: it is missing, not complete, of another kind or made for other classes.
    """
    manifest = read_manifest(step_dir)
    if manifest is None:
        raise UserError(f"{step_dir} holds no finished step (no {MANIFEST_NAME}): run that step first")
    if not manifest.complete:
        raise UserError(f"the step in {step_dir} is not complete: run it again, it goes on where it stopped")
    if kinds is not None and manifest.kind not in kinds:
        raise UserError(
            f"{step_dir} holds {manifest.kind}, but {' or '.join(sorted(kinds))} is needed: "
            "give the folder of another step"
        )
    if classes is not None and manifest.class_list() != classes:
        raise UserError(_class_difference(step_dir, manifest.class_list(), classes))
    return manifest


def _class_difference(step_dir: str | os.PathLike[str], made: ClassList, asked: ClassList) -> str:
    first = f"{step_dir} was made for other classes: "
    last = "; use the same data set for every step of a run"
    extra, missing = sorted(set(made.names) - set(asked.names)), sorted(set(asked.names) - set(made.names))
    if not extra and not missing:
        return (
            first + f"the same names with ids or order {list(made.ids)} instead of {list(asked.ids)}" + last
        )
    parts = [
        f"it has {', '.join(extra)}" if extra else "",
        f"it lacks {', '.join(missing)}" if missing else "",
    ]
    return first + " and ".join(p for p in parts if p) + last


def manifest_hash(step_dir: str | os.PathLike[str]) -> str:
    """SHA-256 of a step's manifest file: it changes whenever the step is made again.

    Raises:
        UserError: there is no manifest.
    """
    try:
        return sha256_file(Path(step_dir) / MANIFEST_NAME)
    except OSError as error:
        raise UserError(
            f"{step_dir} holds no finished step (no {MANIFEST_NAME}): run that step first"
        ) from error
