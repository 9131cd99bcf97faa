"""Whether two runs left the same, times and folders of the machine excepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tag2mask.artifacts import SCORECARD_NAME

_WORDS = {"log.txt", "inputs.json", "settings.yaml", "fit.yaml", "predict.yaml"}
"""Files of the runner and of Lightning that name the run's folder; `logs/` has times."""
_TIMES = {"seconds", "peak_memory_mb", "fingerprint", "config_hash"}


def differences(first: Path, second: Path) -> list[str]:
    """Names of files of two steps that differ or that one of them lacks."""
    names = {
        path.relative_to(folder) for folder in (first, second) for path in folder.rglob("*") if _counts(path)
    }
    return [str(name) for name in sorted(names) if not _same(first / name, second / name)]


def odd_names(first: Path, second: Path) -> list[str]:
    """Names that one of two runs lacks, such as a step that was set aside; the scorecard if it differs."""
    names = [{path.name for path in folder.iterdir()} for folder in (first, second)]
    cards = [_card(folder / SCORECARD_NAME) for folder in (first, second)]
    return sorted(names[0] ^ names[1]) + ([] if cards[0] == cards[1] else [SCORECARD_NAME])


def _card(path: Path) -> Any:
    return {k: v for k, v in json.loads(path.read_text()).items() if k != "seconds"}


def _counts(path: Path) -> bool:
    return path.is_file() and path.name not in _WORDS and "logs" not in path.parts


def _same(first: Path, second: Path) -> bool:
    if not first.is_file() or not second.is_file():
        return False
    if first.name == "manifest.json":
        return _facts(first) == _facts(second)
    if first.read_bytes() == second.read_bytes():
        return True
    return first.suffix == ".ckpt" and _equal(_load(first), _load(second))  # Lightning notes the folder


def _facts(path: Path) -> Any:
    """A manifest without times, and without the hashes of its inputs' manifests, which have times in them."""
    plain = json.loads(path.read_text())
    plain["parents"] = sorted(plain["parents"])
    for record in plain["commands"].values():
        for name in _TIMES:
            record.pop(name, None)
    return plain


def _load(path: Path) -> Any:
    return _without(str(path.parents[2]), torch.load(path, map_location="cpu", weights_only=True))


def _without(folder: str, plain: Any) -> Any:
    """The same with another name for a folder."""
    if isinstance(plain, str):
        return plain.replace(folder, "FOLDER")
    if isinstance(plain, dict):
        return {_without(folder, key): _without(folder, value) for key, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [_without(folder, value) for value in plain]
    return plain


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and list(first) == list(second)
            and all(_equal(first[k], second[k]) for k in first)
        )
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_equal, first, second))
    return bool(first == second)
