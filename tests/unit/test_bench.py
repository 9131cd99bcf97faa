"""The benchmark harness: ratios, agreement, memory, and what its command line says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import scaling
from benchmarks.harness import Agreement, Case, Inputs, measure
from benchmarks.memory import peak_growth_mb
from benchmarks.tables import markdown
from tag2mask import bench
from tag2mask.cli import main
from tag2mask.core import UserError


def equal(expected: Any, got: Any) -> Agreement:
    return Agreement("equal" if expected == got else "not equal", expected == got)


def case(reference: Callable[[], Any] | None, ours: Callable[[], Any], **more: Any) -> Case:
    return Case("piece", "a piece", "the plain way", reference, ours, equal, **{"bar": 2.0, **more})


def slow() -> int:
    time.sleep(0.02)
    return 7


def test_ratio_counts_the_part_of_the_reference_that_was_not_run() -> None:
    whole = measure(case(slow, lambda: 7, reference_times=8.0), repeats=3)
    # sleep never returns early, so 8 parts of 20 ms are at least 160 ms
    assert min(whole.reference_seconds) >= 0.16
    assert len(whole.seconds) == len(whole.reference_seconds) == 3
    assert whole.reached


def test_slower_than_the_bar_is_not_reached() -> None:
    result = measure(case(lambda: 7, slow), repeats=2)
    assert result.ratio is not None and result.ratio < 1
    assert not result.reached
    assert "**not reached**" in markdown([result])


def test_other_result_is_not_reached_however_fast() -> None:
    result = measure(case(slow, lambda: 8), repeats=2)
    assert not result.agreement.ok and not result.reached
    assert "**differs**" in markdown([result])


def test_without_reference_only_ours_is_measured() -> None:
    result = measure(case(None, lambda: None), repeats=2)
    assert result.ratio is None and result.reached
    assert "does not run" in markdown([result])


def test_peak_memory_sees_what_is_freed_before_the_end() -> None:
    def takes_64_mb() -> float:
        return float(np.ones(8 * 2**20).sum())

    result, growth = peak_growth_mb(takes_64_mb)
    if growth is None:
        pytest.skip("this system does not tell the peak of a process")
    assert result == 8 * 2**20
    # The array itself, and at most a few MB that the interpreter takes beside it.
    assert 60 <= growth <= 80


def test_memory_bar() -> None:
    result = measure(case(None, lambda: np.ones(8 * 2**20).sum() and None, memory_bar_mb=20), repeats=1)
    if result.mb is None:
        pytest.skip("this system does not tell the peak of a process")
    assert not result.reached


def test_generated_images_are_repeatable_and_differ() -> None:
    inputs = Inputs()
    first, second = inputs.images(2, 48, 64)
    assert first.shape == (48, 64, 3) and first.dtype == np.uint8
    assert np.array_equal(first, inputs.image(48, 64)) and not np.array_equal(first, second)


def test_command_prints_and_writes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(command, "all_cases", lambda inputs: [case(slow, lambda: 7)])
    out = tmp_path / "new" / "bench.json"
    assert command.main(["--repeats", "1", "--json", str(out)]) == 0
    assert "1 of 1 pieces reach their bar" in capsys.readouterr().out
    written = json.loads(out.read_text())
    assert written["cases"][0]["agrees"] and written["machine"]["cores"] >= 1
    assert "| a piece |" in out.with_suffix(".md").read_text()


def test_command_fails_where_results_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "all_cases", lambda inputs: [case(lambda: 1, lambda: 2)])
    assert command.main(["--repeats", "1"]) == 1


def test_unknown_piece_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "all_cases", lambda inputs: [case(slow, slow)])
    assert command.main(["wlak"]) == 2
    assert "unknown piece 'wlak'; there are: piece" in capsys.readouterr().err


def test_every_case_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    assert "dense CRF" in capsys.readouterr().out


def test_installed_without_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench.tag2mask, "__file__", str(tmp_path / "lib" / "tag2mask" / "__init__.py"))
    with pytest.raises(UserError, match="clone it"):
        bench.find_checkout()
    assert main(["bench", "--list"]) == 2


def test_scaling_measures_and_makes_a_table_per_varied_thing(tmp_path: Path) -> None:
    calls: list[str] = []
    points = [
        scaling.Point("walk", "image size", at, lambda at=at: calls.append(at)) for at in ("8x8", "9x9")
    ]
    costs = [scaling.measure(point, repeats=3) for point in points]
    # a first call for caches, one for the memory, three that are timed
    assert calls == ["8x8"] * 5 + ["9x9"] * 5
    costs.append(scaling.Cost("CRF", "threads", "2", 0.25, 12.4))
    first, second = scaling.markdown(costs).split("\n\n")
    assert first.splitlines()[0] == "| ms (peak MB) by image size | 8x8 | 9x9 |"
    assert second.splitlines()[2] == "| CRF | 250 (12) |"


def test_scaling_reaches_the_sizes_that_it_promises() -> None:
    named = {(point.operator, point.at) for point in scaling.points(Inputs(None))}
    for operator in ("random walk, stride 8", "random walk, stride 4", "dense CRF, 3 labels"):
        assert (operator, "2048x1024") in named
    assert ("dense CRF, 500x375", "21") in named and ("dense CRF, 8 images", "8") in named
