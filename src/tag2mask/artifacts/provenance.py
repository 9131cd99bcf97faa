"""What a result was made with: versions and commit."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

_PACKAGES = (
    "tag2mask", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "timm",
    "segmentation-models-pytorch", "albumentations", "jsonargparse", "numpy",
)  # fmt: skip


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
