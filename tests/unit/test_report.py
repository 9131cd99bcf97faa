"""The report page and its tables, on runs made up for the purpose."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tag2mask.artifacts import CommandRecord, save_labels, save_maps, write_manifest
from tag2mask.cli import main
from tag2mask.core import Alarm, ClassList, ScoreMaps, UserError
from tag2mask.data import VOC
from tag2mask.data import Table as ImageTable
from tag2mask.report import (
    alarm_table,
    build_page,
    class_bars,
    metric_table,
    read_runs,
    score_table,
    settings_table,
    summarise,
)
from tag2mask.report.bars import cost_bars, tag_bars
from tag2mask.report.choice import choose_images
from tag2mask.report.gallery import image_rows
from tag2mask.report.pictures import heat_picture, hex_colour, label_picture, shrink
from tests.report_runs import CAT, DOG, SIZE, add_step, make_images, make_run, numbers


@pytest.fixture
def images(tmp_path: Path) -> VOC:
    return make_images(tmp_path / "images")


@pytest.fixture
def run(tmp_path: Path, images: VOC) -> Path:
    return make_run(tmp_path / "runs" / "one", images)


class _Page(HTMLParser):
    """Collects tags and text, and fails on tags that do not close each other."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self._goes_on = False
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._goes_on = tag == "wbr"
        if tag not in ("meta", "img", "input", "wbr"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._goes_on:  # a word that may break here
            data, self._goes_on = self.words.pop() + data, False
        (self.scripts if self._open[-1:] == ["script"] else self.words).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


# --- reading ------------------------------------------------------------------------------------


def test_steps_come_in_the_order_of_their_inputs(run: Path) -> None:
    assert [step.name for step in read_runs([run])[0].steps] == ["z_cam", "walk", "labels", "a_model"]


def test_what_a_step_held_before_is_left_out(run: Path) -> None:
    (run / "walk").rename(run / "walk.previous")
    assert [step.name for step in read_runs([run])[0].steps] == ["labels", "a_model", "z_cam"]


@pytest.mark.parametrize(
    ("name", "content", "field"),
    [
        ("walk/score.json", {"curve": {"threshold": [0.1, {}], "miou": [0.1, 0.2]}}, "curve.threshold.1"),
        ("walk/score.json", {"curve": {"threshold": [0.1], "miou": [1e308]}}, "curve.miou.0"),
        ("walk/score.json", {"curve": {"threshold": [0.1, 0.2], "miou": [0.1]}}, "2 thresholds but 1"),
        ("scorecard.json", {"paper": {"targets": [1, "a"]}}, "paper.targets"),
    ],
)
def test_numbers_of_another_form_are_named(run: Path, name: str, content: dict[str, Any], field: str) -> None:
    (run / name).write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"{name}.*{field}"):
        read_runs([run])


def test_runs_of_one_name_are_told_apart(tmp_path: Path, images: VOC) -> None:
    folders = [make_run(tmp_path / where / "psa", images) for where in ("x", "y")]
    assert [run.name for run in read_runs(folders)] == [str(folder) for folder in folders]


def test_a_run_that_is_given_twice_has_one_column(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As by `runs/*` and a name of its own."""
    assert main(["report", str(run), f"{run}/", "--images", "0"]) == 0
    assert capsys.readouterr().out.endswith(f"{run / 'report.html'}\n")
    assert not (run / "comparison.html").exists()


def test_folders_that_are_no_runs(tmp_path: Path, run: Path) -> None:
    with pytest.raises(UserError, match="none is not a folder"):
        read_runs([tmp_path / "none"])
    with pytest.raises(UserError, match="holds no step"):
        read_runs([tmp_path / "runs"])
    (run / "walk" / "score.json").write_text("{")
    with pytest.raises(UserError, match=r"walk/score\.json"):
        read_runs([run])


# --- tables -------------------------------------------------------------------------------------


def test_scores_of_one_run(run: Path) -> None:
    rows = {row[0]: row[1:] for row in score_table(read_runs([run])).rows}
    assert rows["z_cam, fixed threshold"] == ["train", "3", "40.0", "0.30", "80.0", "-", "-", "95.0", "-"]
    assert rows["z_cam, best threshold"][2:4] == ["55.0", "0.37"]
    assert rows["walk"][2] == "50.0"
    assert rows["a_model, multi scale"][2] == "72.0"
    assert "upper bound" in score_table(read_runs([run])).note


def test_runs_side_by_side(tmp_path: Path, images: VOC, run: Path) -> None:
    other = make_run(tmp_path / "runs" / "two", images, cam=0.45)
    (other / "walk" / "manifest.json").unlink()
    table = score_table(read_runs([run, other]))
    assert table.header == ["", "one", "two"]
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["z_cam, fixed threshold: mIoU"] == ["40.0 at 0.30", "45.0 at 0.30"]
    assert rows["walk: mIoU"] == ["50.0", "-"]
    assert rows["labels: coverage"] == ["95.0", "95.0"]


def test_scores_per_class(run: Path) -> None:
    table = class_bars(read_runs([run]))
    assert table.header == ["class", "z_cam", "walk", "labels", "a_model"]
    cat, dog = table.rows[1:]
    assert (cat[0], [bar.text for bar in cat[1]]) == ("cat", ["40.0", "50.0", "60.0", "70.0"])
    assert [bar.length for bar in cat[1]] == [40, 50, 60, 70]
    assert (dog[0], {tuple(bar) for bar in dog[1]}) == ("dog", {("-", None)})


def test_metrics_and_settings(run: Path) -> None:
    runs = read_runs([run])
    assert metric_table(runs).rows == [["z_cam: mAP", "93.0 %"]]
    rows = dict(settings_table(runs).rows)
    assert rows["recipe"] == "psa:no_crf"
    assert (rows["budget"], rows["seed"], rows["classes"]) == ("small", "7", "cat, dog")
    costs = {name: [bar.text for bar in bars] for name, bars in cost_bars(runs).rows}
    assert (costs["walk"], costs["all steps"]) == (["1 min 01 s", "0.5 GB"], ["4 min 04 s", "0.5 GB"])
    tags = tag_bars(runs[0])
    assert tags and tags.header == ["tag", "train, 3 images", "val, 3 images"]
    assert [(name, [bar.text for bar in bars]) for name, bars in tags.rows] == [
        ("cat", ["3", "3"]),
        ("dog", ["3", "3"]),
    ]
    assert rows["versions"] == "torch 9.9"


@pytest.mark.parametrize(
    "arguments",
    [
        "{backbone: {name: vgg16, weights: /w/coco.pth}}",
        "{backbone: vgg16, weights: /w/coco.pth}",  # as runs were saved before arguments were objects
    ],
)
def test_settings_come_from_the_saved_configuration(run: Path, images: VOC, arguments: str) -> None:
    manifest = read_runs([run])[0].steps[0].manifest
    manifest.commands["fit"] = CommandRecord(complete=True)
    write_manifest(run / "z_cam", manifest)
    (run / "z_cam" / "fit.yaml").write_text(
        f"seed_everything: 3\ntrainer: {{max_epochs: 15}}\nmodel: {{init_args: {arguments}}}\n"
    )
    assert (
        dict(settings_table(read_runs([run])).rows)["training of z_cam"]
        == "vgg16, weights coco.pth, 15 epochs, seed 3"
    )
    (run / "z_cam" / "fit.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"fit\.yaml"):
        settings_table(read_runs([run]))


# --- pictures -----------------------------------------------------------------------------------


def test_label_colours_and_background() -> None:
    image = np.full((6, 6, 3), 100, np.uint8)
    ids = np.zeros((6, 6), np.uint8)
    ids[:, 3:] = CAT  # VOC's colour of 8 is (64, 0, 0)
    picture = label_picture(image, ids)
    assert picture[0, 0].tolist() == [100, 100, 100]
    assert picture[0, 5].tolist() == [75, 30, 30]  # 0.3 image and 0.7 colour
    assert picture[0, 3].tolist() == [20, 20, 20]  # the outline
    assert hex_colour(CAT) == "#400000"


def test_heat_goes_from_blue_to_red() -> None:
    image = np.full((1, 3, 3), 100, np.uint8)
    cold, _, hot = heat_picture(image, np.array([[-0.5, 0.5, 1.5]], np.float32))[0].astype(int)
    assert cold[2] > cold[0] and hot[0] > hot[2]


def test_shrinking_keeps_the_form_and_never_enlarges() -> None:
    assert shrink(np.zeros((100, 50, 3), np.uint8), 20).shape == (20, 10, 3)
    assert shrink(np.zeros((10, 5, 3), np.uint8), 20).shape == (10, 5, 3)


def test_images_are_spread_and_always_the_same(tmp_path: Path) -> None:
    data = make_images(tmp_path / "many", count=100, files=False)
    add_step(tmp_path / "run", "labels", "labels", data)
    add_step(tmp_path / "run", "model", "segmentation", data, split="val", parent="labels")
    runs = read_runs([tmp_path / "run"])
    chosen = choose_images(runs, 10)
    assert chosen == choose_images(runs, 10)
    assert [split for split, _ in chosen] == ["train"] * 5 + ["val"] * 5
    places = [int(name[1:]) for _, name in chosen[:5]]
    assert set(np.diff(places)) == {20}  # 100 images, five of them: 20 apart (the list is in order)
    assert choose_images(runs, 0) == []
    assert len(set(choose_images(runs, 500))) == 200


def test_row_of_pictures(run: Path) -> None:
    (train, *_), (val, *_) = image_rows(read_runs([run]), [("train", "p0"), ("val", "p0")])
    captions = [picture.caption for picture in train.pictures]
    assert captions == ["image", "z cam: cat", "z cam: dog", "z cam above 0.30", "walk", "labels", "truth"]
    assert [picture.caption for picture in val.pictures] == ["image", "a model", "truth"]
    assert train.tags == ["cat", "dog"]
    for picture in train.pictures:
        data = base64.b64decode(picture.uri.removeprefix("data:image/jpeg;base64,"))
        assert Image.open(io.BytesIO(data)).size == SIZE[::-1]


# --- the page -----------------------------------------------------------------------------------


def test_page_is_whole_and_loads_nothing(run: Path) -> None:
    page = build_page(read_runs([run]), images=4)
    parsed = _Page(page)
    pictures = parsed.all("img")
    assert len(pictures) == 2 * 7 + 2 * 3
    assert all(
        (picture["src"] or "").startswith("data:image/jpeg;base64,") and picture["alt"]
        for picture in pictures
    )
    policy = next(
        m["content"] for m in parsed.all("meta") if m.get("http-equiv") == "Content-Security-Policy"
    )
    script = parsed.scripts[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-"
    assert policy == f"{allowed}{digest}'"
    assert len(parsed.scripts) == 1 and not {"link", "iframe"} & {tag for tag, _ in parsed.tags}
    assert not any(name.startswith("on") for _, attributes in parsed.tags for name in attributes)
    text = re.sub(r"data:image/(jpeg|png);base64,[\w+/=]*", "", page)
    assert "http" not in text.replace("http-equiv", "") and "url(" not in text and "@import" not in text
    assert "prefers-color-scheme: dark" in page


def test_full_disk_keeps_the_page_of_before(
    run: Path, full_disk: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    page = run / "report.html"
    assert main(["report", str(run)]) == 0
    before = page.read_bytes()
    with full_disk(1000):
        assert main(["report", str(run)]) == 2
    assert f"error: cannot write {page}" in capsys.readouterr().err
    assert page.read_bytes() == before and not list(run.glob(".report*"))


def test_names_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    root = tmp_path / "images"
    root.mkdir()
    for name in ("a&b.jpg", "c&d.jpg"):
        Image.new("RGB", SIZE[::-1]).save(root / name)
    (tmp_path / "t.csv").write_text(f"image,labels\na&b.jpg,{evil}\nc&d.jpg,{evil}\n")
    data = ImageTable(str(root), str(tmp_path / "t.csv"), classes=[evil], val_fraction=0.5)
    run = tmp_path / "<i>run"
    out = add_step(run, "cam", "maps", data, score={**numbers(0.4), "per_class": {evil: 0.5}})
    save_maps(out, ScoreMaps(data.ids("train")[0], np.ones((1, 2, 2)), [1], SIZE), data.classes)
    (run / "run.json").write_text(json.dumps({"recipe": "psa", "data": evil}))
    page = build_page(read_runs([run]))
    assert page.count("<script") == 1 and "<i>run" not in page
    assert f"cam: {evil}" in _Page(page).words
    assert evil in class_bars(read_runs([run])).rows[0]


def test_reasons_and_problems_are_escaped(run: Path, images: VOC) -> None:
    """Texts that come from files and errors, in a note, a table, a caption and an attribute."""
    evil = '"><img src=x onerror=alert(1)>'
    add_step(run, "labels", "labels", images, parent="walk", score={"scored": False, "why": evil})
    (run / "walk").rename(run / evil.replace("/", ""))
    parsed = _Page(build_page(read_runs([run]), images=4))
    assert not any("onerror" in attributes for attributes in parsed.all("img"))
    assert any(evil in word for word in parsed.words)
    assert any(evil in str(picture["alt"]) for picture in parsed.all("img"))


def test_an_advice_for_many_steps_is_given_once_as_it_is_typed(tmp_path: Path, run: Path) -> None:
    alarm = Alarm("empty_labels", "nothing is there", "tag2mask report RUN shows")
    for step in ("walk", "labels"):
        path = run / step / "score.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "alarms": [alarm.to_dict()]}))
    found = read_runs([run])
    assert summarise(found[0]).next.count(f"walk, labels: tag2mask report {run.name} shows.") == 1
    assert [row[2] for row in alarm_table(found).rows] == [f"tag2mask report {run.name} shows"] * 2
    assert alarm_table(found, folders=True).rows[0][2] == f"tag2mask report {run} shows"


def test_commands_of_a_page_name_the_folder_as_it_was_given(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent.parent)
    given = f"{run.parent.name}/{run.name}"
    lines = {folder: summarise(read_runs([folder])[0]).next for folder in (given, str(run))}
    assert any(f"--checkpoint {given} --out" in line for line in lines[given])
    # an absolute path would tell of this machine
    assert any(f"--checkpoint {run.name} --out" in line for line in lines[str(run)])


def test_classes_of_the_network_are_told_where_labels_of_val_come_after_it(run: Path, images: VOC) -> None:
    score = numbers(0.6, per_class={"background": 0.9, "cat": 0.8, "dog": 0.1})
    add_step(run, "labels_val", "labels", images, split="val", parent="z_cam", score=score)
    (weak,) = [line for line in summarise(read_runs([run])[0]).bad if "far below the mean" in line] or [""]
    assert "labels_val" not in weak


def test_run_without_masks(tmp_path: Path) -> None:
    data = make_images(tmp_path / "images", masks=False)
    run = tmp_path / "run"
    why = {"scored": False, "why": "the data set has no masks for these images"}
    out = add_step(run, "labels", "labels", data, score=why)
    for name in data.ids("train"):
        save_labels(out / f"{name}.png", np.zeros(SIZE, np.uint8))
    words = _Page(build_page(read_runs([run]))).words
    assert not {"not scored", "truth", "Scores", "Confusion"} & set(words)
    assert any("These images have no masks" in word for word in words)


def test_a_network_that_finds_nothing_is_not_called_ready(run: Path) -> None:
    assert any("network is ready" in line for line in summarise(read_runs([run])[0]).next)
    path = run / "a_model" / "score.json"
    score = json.loads(path.read_text())
    path.write_text(json.dumps({**score, "labels": {"tagged": 3, "empty": 3}}))
    assert not any("network is ready" in line for line in summarise(read_runs([run])[0]).next)
    path.write_text(json.dumps({**score, "labels": {"tagged": 3, "empty": 2}}))
    assert any("network is ready" in line for line in summarise(read_runs([run])[0]).next)


def test_the_page_names_the_recipe_of_the_last_step(run: Path) -> None:
    """The first steps may be copies of another recipe's, as those of `best` on a run of `psa`."""
    manifest = read_runs([run])[0].step("a_model").manifest  # type: ignore[union-attr]
    manifest.recipe = "best"
    write_manifest(run / "a_model", manifest)
    assert any(word.startswith("best; ") for word in _Page(build_page(read_runs([run]), images=0)).words)


def test_unfinished_run_with_missing_and_broken_files(run: Path) -> None:
    for name in ("p0", "p1", "p2"):
        (run / "walk" / "out" / f"{name}.npz").unlink()
        (run / "labels" / "out" / f"{name}.png").write_bytes(b"not a picture")
    manifest = read_runs([run])[0].steps[1].manifest
    manifest.complete = False
    write_manifest(run / "walk", manifest)
    (run / "walk" / "score.json").unlink()
    words = _Page(build_page(read_runs([run]), images=2)).words
    assert any("walk is not finished" in word for word in words)
    assert any("no maps at" in word for word in words)
    assert any("cannot read the label map" in word for word in words)


def test_images_that_are_gone_leave_the_tables(run: Path, images: VOC) -> None:
    for path in (images.root / "JPEGImages").iterdir():
        path.unlink()
    parsed = _Page(build_page(read_runs([run])))
    assert "55.0" in parsed.words and not parsed.all("img")


def test_several_runs_have_rows_of_their_own(tmp_path: Path, images: VOC, run: Path) -> None:
    other = make_run(tmp_path / "runs" / "two", images)
    parsed = _Page(build_page(read_runs([run, other]), images=2))
    assert len(parsed.all("img")) == 2 * (7 + 3)
    headings = [item for item in parsed.all("p") if item.get("class") == "run"]
    assert len(headings) == 2 * 2


def test_legend_names_every_class(run: Path) -> None:
    parsed = _Page(build_page(read_runs([run]), images=1))
    colours = [str(item["style"]) for item in parsed.all("span") if item.get("class") == "swatch"]
    assert colours == [f"background:{hex_colour(i)}" for i in (0, CAT, DOG, 255)]
    assert ClassList.voc(["cat", "dog"]).ids == (CAT, DOG)
