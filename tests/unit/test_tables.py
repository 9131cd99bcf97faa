"""Tables of text, and numbers as text."""

from __future__ import annotations

from tag2mask.core.tables import NOTHING, Table, duration, metric, percent

ROWS = [["cam", "4.0"], ["labels", "61.5"]]


def test_text_has_headings_left_and_numbers_right() -> None:
    text = Table(["step", "mIoU"], ROWS, note="A note.").text()
    assert text.splitlines() == ["step    mIoU", "------------", "cam      4.0", "labels  61.5", "A note."]


def test_totals_stand_between_two_lines() -> None:
    lines = Table(["class", "IoU"], [["cat", "4.0"]], foot=[["mIoU", "100.0"]]).text().splitlines()
    assert lines == ["class    IoU", "-" * 12, "cat      4.0", "-" * 12, "mIoU   100.0", "-" * 12]


def test_markdown() -> None:
    table = Table(["step", "mIoU"], ROWS, title="Scores", foot=[["mean", "32.8"]])
    assert table.markdown().splitlines() == [
        "| step | mIoU |",
        "|---|---|",
        "| cam | 4.0 |",
        "| labels | 61.5 |",
        "| mean | 32.8 |",
    ]


def test_numbers() -> None:
    assert [percent(v) for v in (0.5, 0, 1, None)] == ["50.0", "0.0", "100.0", NOTHING]
    assert [duration(v) for v in (5.4, 61, 3720)] == ["5 s", "1 min 01 s", "1 h 02 min"]


def test_shares_are_told_by_their_name() -> None:
    shares = ("mAP", "val/mAP", "val/mAP/cat", "val/miou", "val/tag_f1", "val/cam_best_miou", "coverage")
    assert {metric(name, 0.6265) for name in shares} == {"62.6 %"}
    others = ("val/loss", "val/energy_after", "val/cam_best_threshold", "train/mapping")
    assert {metric(name, 0.62654) for name in others} == {"0.6265"}
