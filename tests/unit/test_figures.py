"""Figures for papers: what stands in their columns, axes and files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tag2mask.core import UserError
from tag2mask.report import Run, read_runs
from tag2mask.report.figures import (
    as_picture,
    class_figure,
    confusion_figure,
    figure_row,
    rows_figure,
    save_figure,
    threshold_figure,
)
from tests.report_runs import SIZE, make_images, make_run

COLUMNS = {"z_cam": "CAM", "labels": "pseudo-label", "nothing": "none"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    root = tmp_path_factory.mktemp("figures")
    data = make_images(root / "images")
    for name, miou in (("one", 0.4), ("two", 0.6)):
        run = make_run(root / name, data, cam=miou)
        score = json.loads((run / "z_cam" / "score.json").read_text())
        score["curve"] = {"threshold": [0.2, 0.4], "miou": [miou, miou + 0.1]}
        (run / "z_cam" / "score.json").write_text(json.dumps(score))
    return read_runs([root / "one", root / "two"])


def test_a_row_has_what_there_is(runs: list[Run]) -> None:
    row = figure_row(runs[0], "p0", COLUMNS)
    assert [panel.caption for panel in row] == ["image", "CAM", "pseudo-label", "truth"]
    assert {panel.picture.shape for panel in row} == {(*SIZE, 3)}
    network = {"segmentation": "prediction"}
    assert [p.caption for p in figure_row(runs[0], "p0", network)] == ["image", "truth"]
    cats = figure_row(runs[0], "p0", network, segment=lambda image: np.ones(image.shape[:2], np.uint8))[1]
    assert cats.caption == "prediction" and len(np.unique(cats.picture.reshape(-1, 3), axis=0)) > 1


def test_rows_stand_below_their_captions(runs: list[Run]) -> None:
    figure = rows_figure([figure_row(runs[0], "p0", {}), figure_row(runs[0], "p1", COLUMNS)], width=4)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["image", "CAM", "pseudo-label", "truth", "", "", "", ""]
    assert [len(axes.images) for axes in figure.axes] == [1, 0, 0, 1, 1, 1, 1, 1]
    assert as_picture(figure, dots=50).width == 200


def test_charts_show_the_scores(runs: list[Run]) -> None:
    (axes,) = threshold_figure(runs).axes
    curve, dot = axes.lines[:2]
    assert curve.get_ydata().tolist() == pytest.approx([40, 50])
    assert dot.get_xydata().tolist() == [pytest.approx([0.3, 45])]  # type: ignore[attr-defined]
    (axes,) = class_figure(runs, "z_cam").axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([90, 40, 0, 90, 60, 0])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["background", "cat", "dog"]


def test_what_was_not_scored_has_no_chart(tmp_path: Path, runs: list[Run]) -> None:
    run = Run("bare", tmp_path, steps=[])
    with pytest.raises(UserError, match="needs masks"):
        threshold_figure([run])
    with pytest.raises(UserError, match="has a score of the step cam"):
        class_figure([run], "cam")
    with pytest.raises(UserError, match="no confusion of the step z_cam"):
        confusion_figure(runs[0], "z_cam")


def test_files_are_the_same_each_time(tmp_path: Path, runs: list[Run]) -> None:
    files = [save_figure(threshold_figure(runs), tmp_path / name / "curve.2") for name in "ab"]
    assert [file.name for file in files[0]] == ["curve.2.pdf", "curve.2.png"]
    assert [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]]
