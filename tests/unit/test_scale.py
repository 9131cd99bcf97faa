"""`make scale` on a few images: what it measures works, and it needs no file of too many names."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import scale, scale_world


def test_every_part_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale_world, "MOST_LINKS", 3)
    costs = list(scale.measure(tmp_path / "world", 9))
    assert [cost.images for cost in costs] == [9] * 8
    names = [path.stat().st_nlink for path in (tmp_path / "world" / "images").iterdir()]
    assert names == [3] * 9
    table = scale.table([*costs, scale.Cost(costs[0].part, 90, 2.0, None)])
    assert [row[2] for row in table.rows] == ["2.00 (0)", *["-"] * 7]
