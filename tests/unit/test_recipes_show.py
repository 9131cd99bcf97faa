"""``tag2mask recipes show``: settings with where they came from, differences, and the file for a step."""

from __future__ import annotations

import re

import pytest
import yaml

from tag2mask.cli import main
from tag2mask.core.library import find_conf


def _show(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["recipes", "show", *words]) == 0
    return capsys.readouterr().out


def test_each_setting_names_the_line_that_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    out = _show(capsys, "sc_cam", "--budget", "small", "--step", "cam_1")
    row = next(line for line in out.splitlines() if "init_args.sub_weight" in line)
    found = re.search(r"5\.0 +(\S+):(\d+)$", row)
    assert found
    named = (find_conf() / found[1]).read_text(encoding="utf-8").splitlines()[int(found[2]) - 1]
    assert "sub_weight: 5.0" in named
    # a light backbone brings its own optimiser, the budget the threshold, and the page the length
    assert re.search(r"optimization\.optimizer +torch\.optim\.AdamW +backbones/light\.yaml:\d+", out)
    assert re.search(r"cam\.threshold +0\.3 +budgets/small\.yaml:\d+", out)
    assert re.search(r"trainer\.max_epochs +12 +recipes/sc_cam\.yaml:\d+", out)


def test_the_heading_names_the_setting_that_gets_each_folder(capsys: pytest.CaptureFixture[str]) -> None:
    heading = _show(capsys, "psa", "--step", "walk").splitlines()[0]
    assert heading.endswith("reads cam (data.init_args.maps_dir), affinity (model.init_args.affinity_from)")


def test_a_step_of_a_round_is_compared_with_the_step_that_it_repeats(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = _show(capsys, "sc_cam", "--step", "cam_1", "--diff", "psa").splitlines()
    assert [line for line in lines if not line.startswith(" ")] == ["cam_1 beside cam of psa:"]
    assert any("sub_categories: 10" in line and line.endswith("psa: not set") for line in lines)


def test_what_is_equal_and_what_only_one_has(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _show(capsys, "rrm", "--budget", "small", "--diff", "psa").splitlines()
    assert "cam: the same" in lines
    assert "joint: only in rrm" in lines
    assert "walk: only in psa" in lines


def test_a_step_that_reads_another_one_differs(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _show(capsys, "psa:no_walk", "--step", "pseudo_label", "--diff", "psa").splitlines()
    assert lines == ["pseudo_label:", "  data.init_args.maps_dir: cam (input) | psa: walk (input)"]


def test_the_file_for_a_step_holds_the_same_settings(capsys: pytest.CaptureFixture[str]) -> None:
    plain = yaml.safe_load(_show(capsys, "psa", "--budget", "small", "--step", "cam", "--yaml"))
    assert plain["model"]["init_args"]["backbone"]["name"] == "mobilenetv2_100"
    assert plain["data"]["init_args"]["augment"]["long_side"] == [256, 448]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["psaa"], "psa"),
        (["psa", "--step", "camm"], "cam"),
        (["psa:no_wlk"], "no_walk"),
        (["psa", "--budget", "smal"], "small"),
        (["psa", "--backbone", "mobilenetv2_1000"], "mobilenetv2_100"),
        (["psa", "--yaml"], "--step"),
    ],
)
def test_mistakes_name_the_mend(words: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "show", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and named in error and "Traceback" not in error
