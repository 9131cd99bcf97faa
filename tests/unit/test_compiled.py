"""Compiled loops where nothing can be kept on the disk."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numba
import pytest

from tag2mask.ops import compiled as module
from tag2mask.ops.compiled import compiled


def _double(number: int) -> int:
    return 2 * number


def _without_file() -> Any:
    """A function for whose file numba finds no folder, as where none may be written to."""
    names: dict[str, Any] = {}
    exec(compile("def double(number): return 2 * number", "<nowhere>", "exec"), names)
    return names["double"]


def test_code_is_kept_where_there_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    kernel: Any = compiled()(_double)
    assert Path(kernel.stats.cache_path).is_relative_to(tmp_path)


@pytest.mark.parametrize("lacks", ["a folder", "a home"])
def test_code_that_cannot_be_kept_is_compiled_all_the_same(
    lacks: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module._say_why_slow.cache_clear()
    if lacks == "a home":
        monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with caplog.at_level(logging.WARNING):
        kernel: Any = compiled()(_double if lacks == "a home" else _without_file())
    assert kernel.stats.cache_path is None and kernel(21) == 42
    assert "set NUMBA_CACHE_DIR" in caplog.text
