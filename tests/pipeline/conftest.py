"""What the tests of runs share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.toy_recipe import Bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(tmp_path)
    monkeypatch.setenv("TAG2MASK_CONF", str(bench.conf))
    monkeypatch.setenv("FAKE_CALLS", str(bench.calls_file))
    monkeypatch.chdir(tmp_path)
    return bench
