"""The manifest of a step: what lies in its folder, how it was made, and whether it is complete."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from tag2mask.artifacts.files import atomic_write_json, sha256_file
from tag2mask.core.classes import ClassList
from tag2mask.core.errors import UserError

KINDS = (
    "maps", "labels", "affinity_labels", "checkpoint", "segmentation",
    "superpixels", "features", "sub_labels",
)  # fmt: skip
"""What a step's folder can hold."""

RESULT_SUFFIXES = {"maps": ".npz", "features": ".npy", "sub_labels": ".json"}
"""Ending of the file of each image, by kind; the others leave ``.png``."""

MANIFEST_NAME = "manifest.json"

_PACKAGES = (
    "tag2mask", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "timm",
    "segmentation-models-pytorch", "albumentations", "jsonargparse", "numpy",
)  # fmt: skip


@dataclass
class CommandRecord:
    """One command (``fit`` or ``predict``) of a step.

    Attributes:
        complete: it ran to its end.
        fingerprint: hash of everything that the runner gave it; "" when started by hand.
        config_hash: hash of its resolved configuration.
        seconds: time spent, summed over interrupted runs.
        peak_memory_mb: highest memory use of the process (device memory where it has one).
    """

    complete: bool = False
    fingerprint: str = ""
    config_hash: str = ""
    seconds: float = 0.0
    peak_memory_mb: float = 0.0


@dataclass
class Manifest:
    """What a step's folder holds. `complete` is set last, when every result is on disk.

    Attributes:
        step: name of the step.
        kind: one of `KINDS`.
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

    step: str
    kind: str
    recipe: str
    classes: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    split: str = ""
    image_ids: list[str] = field(default_factory=list)
    parents: dict[str, str] = field(default_factory=dict)
    commands: dict[str, CommandRecord] = field(default_factory=dict)
    checkpoint: str = ""
    commit: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    complete: bool = False

    def class_list(self) -> ClassList:
        """The classes as a `ClassList`."""
        return ClassList.from_dict(self.classes)


_TYPES: dict[str, type] = {
    "step": str, "kind": str, "recipe": str, "classes": dict, "data": dict, "split": str,
    "image_ids": list, "parents": dict, "commands": dict, "checkpoint": str, "commit": str,
    "versions": dict, "complete": bool,
}  # fmt: skip


def read_manifest(step_dir: str | Path) -> Manifest | None:
    """The manifest of a step's folder, or None where there is none.

    Raises:
        UserError: the file is not readable or not a manifest.
    """
    path = Path(step_dir) / MANIFEST_NAME
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _broken(path, str(error)) from error
    if not isinstance(plain, dict):
        raise _broken(path, "it is not an object")
    return _parse(path, plain)


def _parse(path: Path, plain: Mapping[str, Any]) -> Manifest:
    for name, kind in _TYPES.items():
        if not isinstance(plain.get(name), kind):
            raise _broken(path, f"{name!r} is missing or not a {kind.__name__}")
    if plain["kind"] not in KINDS:
        raise _broken(path, f"kind {plain['kind']!r} is none of {', '.join(KINDS)}")
    try:
        ClassList.from_dict(plain["classes"])
        commands = {name: _record(record) for name, record in plain["commands"].items()}
    except (KeyError, TypeError, ValueError, UserError) as error:
        raise _broken(path, f"{error!r}") from error
    return Manifest(**{name: plain[name] for name in _TYPES if name != "commands"}, commands=commands)


def _record(plain: Mapping[str, Any]) -> CommandRecord:
    values = {f.name: plain[f.name] for f in fields(CommandRecord)}
    if not isinstance(values["complete"], bool) or not isinstance(values["fingerprint"], str):
        raise TypeError("a command's 'complete' or 'fingerprint' has the wrong type")
    return CommandRecord(**values)


def _broken(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} is not a readable manifest ({why}); move {path.parent} away and run its step again"
    )


def write_manifest(step_dir: str | Path, manifest: Manifest) -> None:
    """Write a step's manifest atomically."""
    atomic_write_json(Path(step_dir) / MANIFEST_NAME, asdict(manifest))


def require_step(
    step_dir: str | Path, kinds: Collection[str] | None = None, classes: ClassList | None = None
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


def _class_difference(step_dir: str | Path, made: ClassList, asked: ClassList) -> str:
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


def manifest_hash(step_dir: str | Path) -> str:
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


def collect_versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on, as far as installed."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_commit() -> str:
    """The commit of the checkout that this package lies in, or "" outside one.

    "-dirty" is appended when tracked files differ from the commit.
    """
    here = Path(__file__).resolve().parent
    try:
        inside = _git(here, "ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git(here, "rev-parse", "HEAD") if inside else ""
        return commit + ("-dirty" if commit and _git(here, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()
