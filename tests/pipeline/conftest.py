"""What the tests of runs share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tag2mask.modules import Classifier
from tests.pipeline.toy_recipe import Bench

PowerCut = Callable[[int], AbstractContextManager[None]]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(tmp_path)
    monkeypatch.setenv("TAG2MASK_CONF", str(bench.conf))
    monkeypatch.setenv("FAKE_CALLS", str(bench.calls_file))
    monkeypatch.chdir(tmp_path)
    return bench


@pytest.fixture
def power_cut(monkeypatch: pytest.MonkeyPatch) -> PowerCut:
    """A block in which the training of a classifier breaks off as an epoch begins."""

    @contextmanager
    def cut_at(epoch: int) -> Iterator[None]:
        def cut(self: Classifier) -> None:
            if self.current_epoch == epoch:
                raise RuntimeError("power cut")

        with monkeypatch.context() as patch:
            patch.setattr(Classifier, "on_train_epoch_start", cut)
            with pytest.raises(RuntimeError, match="power cut"):
                yield

    return cut_at
