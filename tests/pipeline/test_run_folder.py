"""What a run folder remembers, and what is refused before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from tag2mask.core import UserError
from tests.pipeline.toy_recipe import ALL, Bench, named


def test_settings_are_remembered(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.run(asked={"backbone": "resnet50", "budget": "tiny", "seed": 5}, stages=(1,))
    bench.calls()
    bench.run(asked={"data": None})
    calls = [c for c in bench.calls() if c[0] == "step"]
    assert [named(c) for c in calls] == ALL[2:]
    assert bench.started_with("learn")["model"]["init_args"]["backbone"] == {"name": "resnet50"}
    assert bench.started_with("learn")["seed_everything"] == 5
    assert "changed since" not in capsys.readouterr().out
    bench.run(asked={"seed": 6})
    assert bench.started() == ALL
    assert "changed since the last run: seed 5 -> 6" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"variant": "short"}, "another recipe: toy, not toy:short"),
        ({"data": "other"}, "another data set: toy, not other"),
        ({"data_root": "elsewhere"}, "another data root: .*run.json"),
        ({"recipe": "twin"}, "another recipe: toy, not twin; choose another --run-dir; nothing"),
    ],
)
def test_run_folder_of_another_run(bench: Bench, asked: dict[str, str], message: str) -> None:
    bench.write_data("other", ["cat"])
    bench.page.with_name("twin.yaml").write_text(bench.page.read_text())
    bench.run(asked={"data_root": "here"}, stages=(1,))
    before = {p: p.stat().st_mtime_ns for p in bench.run_dir.rglob("*")}
    bench.calls()
    with pytest.raises(UserError, match=message):
        bench.run(asked=asked)
    assert bench.calls() == []
    assert {p: p.stat().st_mtime_ns for p in bench.run_dir.rglob("*")} == before


def test_changed_class_list(bench: Bench) -> None:
    bench.run(stages=(1,))
    bench.write_data("toy", ["cat", "dog"])
    with pytest.raises(UserError, match=r"another class list: \['cat'\], not \['cat', 'dog'\]"):
        bench.run()


def test_folder_that_is_no_run(bench: Bench) -> None:
    bench.run_dir.mkdir()
    (bench.run_dir / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="is not empty and is no run folder"):
        bench.run()
    for content, message in (
        ("{", ""),
        ('{"recipe": "psa", "data": ""}', "data is empty"),
        ('{"recipe": "psa", "data": "\\n", "budget": "tiny"}', "data is empty"),
        ('{"recipe": "psa", "data": null, "dataset": {"classes": {}}}', "data is missing"),
        ('{"recipe": "psa", "data": null, "budget": "tiny"}', "data is missing"),
        ('{"recipe": "psa", "data": "voc", "dataset": {"classes": {}}}', "budget is missing"),
    ):
        (bench.run_dir / "run.json").write_text(content)
        with pytest.raises(UserError, match=rf"cannot read .*run.json: {message}"):
            bench.run()


def test_the_same_page_in_another_folder_is_told_apart_with_a_way_out(bench: Bench) -> None:
    """A run that was copied to another machine, with its pages: it said to choose another --run-dir."""
    for folder in (bench.conf / "here", bench.conf / "there"):
        folder.mkdir()
        (folder / "own.yaml").write_text(bench.page.read_text())
        (folder / "photos.yaml").write_text((bench.conf / "data" / "toy.yaml").read_text())
    here, there = (
        {"recipe": f"conf/{at}/own.yaml", "data": f"conf/{at}/photos.yaml"} for at in ("here", "there")
    )
    assert bench.run(asked=here, stages=(1,)) == 0
    with pytest.raises(UserError, match=r"if the same page has moved, correct recipe in .*run\.json"):
        bench.run(asked=there)
    with pytest.raises(
        UserError, match=r"if the same data configuration has moved, correct data in .*run\.json"
    ):
        bench.run(asked=here | {"data": there["data"]})
    note = bench.run_dir / "run.json"
    note.write_text(note.read_text().replace("/here/", "/there/"))
    bench.calls()
    assert bench.run(asked=there, stages=(1,)) == 0
    assert bench.started() == []


@pytest.mark.parametrize(
    ("what", "name", "content"), [("weights", "w.pth", b"\x80"), ("tags", "w.csv", b"a,cat\n")]
)
def test_a_remembered_file_that_is_gone_is_named(bench: Bench, what: str, name: str, content: bytes) -> None:
    """It was a folder that one may not write to."""
    file = bench.run_dir.with_name(name)
    file.write_bytes(content)
    assert bench.run(asked={what: str(file)}, stages=(1,)) == 0
    moved = file.rename(file.with_name(f"moved{file.suffix}"))
    with pytest.raises(UserError, match=rf"{name}: --{what} takes .*\(remembered as {what} of .*run.json"):
        bench.run(stages=(1,))
    assert bench.run(asked={what: str(moved)}, stages=(1,)) == 0


def test_a_page_in_place_of_weights_stops_a_run_before_its_first_step(bench: Bench) -> None:
    """It was found when the first network was built, after the check of the data."""
    file = bench.run_dir.with_name("w.pth")
    file.write_bytes(b"<html>Sign in</html>")
    with pytest.raises(UserError, match=r"w\.pth: cannot be read: it is a web page"):
        bench.run(asked={"weights": str(file)}, stages=(1,))
    assert bench.calls() == []


def test_missing_inputs_are_found_before_anything_starts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"step learn reads cam.*--data toy --budget full --stage 1"):
        bench.run(stages=(2,))
    assert bench.calls() == [] and not bench.run_dir.exists()
    monkeypatch.setenv("FAKE_FAIL", "cam:predict")
    bench.run(stages=(1,))
    bench.calls()
    with pytest.raises(UserError, match="step label reads cam, which is not complete"):
        bench.run(from_step="label")
    assert bench.calls() == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"data": None}, "name the data set with --data"),
        ({"data": "tyo"}, "unknown data configuration 'tyo'; did you mean toy"),
        ({"recipe": "tyo"}, "unknown recipe 'tyo'; did you mean toy"),
        ({"variant": "shrt"}, "unknown variant of toy 'shrt'; did you mean short"),
        ({"budget": "tny"}, "unknown budget of toy 'tny'; did you mean tiny"),
        ({"backbone": "resnet5"}, "--backbone: unknown backbone 'resnet5'; did you mean resnet50"),
        ({"weights": "no/such/file"}, "no weights no/such/file"),
        ({"tags": "no.csv"}, "no file no.csv"),
    ],
)
def test_mistakes(bench: Bench, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bench.run(asked=asked)
    assert bench.calls() == [] and not bench.run_dir.exists()
