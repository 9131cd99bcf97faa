"""A short sample of `make fuzz`, so that the suite notices when it finds something or cannot run."""

from __future__ import annotations

from pathlib import Path

from tag2mask.core.library import find_conf
from tests.fuzz.cases import TARGETS, draw_cases
from tests.fuzz.play import Player


def test_sample_finds_no_fault(tmp_path: Path) -> None:
    player = Player(tmp_path, find_conf())
    outcomes = [player.play(case) for case in draw_cases(seed=1, count=28)]
    assert [(o.case.name, o.fault, o.said) for o in outcomes if o.fault] == []
    assert sum(o.code == 2 for o in outcomes) > 12  # most of it is broken beyond reading


def test_every_kind_of_input_is_drawn() -> None:
    drawn = {case.target.kind for case in draw_cases(seed=0, count=300)}
    assert drawn == {target.kind for target in TARGETS} and len(drawn) > 15
