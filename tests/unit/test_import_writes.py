"""``tag2mask data import``: what it writes, what it leaves alone, and what it refuses."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tag2mask.cli import main
from tag2mask.data.imports import command as importing
from tests.import_sources import SIZE, imported, refused, root, tags_of, write_image, write_json

__all__ = ["root"]  # the fixture of these tests


def test_names_with_separators_survive(root: Path) -> None:
    write_json(root / "t.json", {"a": ["a;b", "c d"], "b": ["c d"], "c": ["e,f"], "d": ["e,f"], "e": ["c d"]})
    images = imported(root)
    assert images.classes.names == ("a;b", "c d", "e,f")
    assert images.tag_names("a") == ("a;b", "c d")
    plain = yaml.safe_load((root / "tag2mask" / "data.yaml").read_text())
    assert plain["data"]["init_args"]["dataset"]["init_args"]["separator"] == "|"


def test_masks_are_not_written_over(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "tags.csv").write_text("image,label\na,cat\nb,cat\nc,dog\nd,dog\ne,dog\n")
    (root / "masks").mkdir()
    for stem in "abcde":
        Image.new("L", SIZE[::-1], 255).save(root / "masks" / f"{stem}.png")
    before = {path: path.read_bytes() for path in root.rglob("*.*")}
    words = ("--mask-value", "255=cat", "--out", str(root))
    assert "have to be converted, and would be written over" in refused(root, *words, capsys=capsys)
    assert {path: path.read_bytes() for path in root.rglob("*.*")} == before
    shutil.copytree(root / "masks", root / "raw")
    raw = ("--masks", str(root / "raw"))
    assert "masks is there already" in refused(root, *words, *raw, capsys=capsys)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_the_page_escapes_everything(root: Path) -> None:
    name = '<script>alert("x")</script>'
    write_json(root / "t.json", {key: [name] for key in "abcde"})
    imported(root)
    page = (root / "tag2mask" / "samples.html").read_text()
    assert "<script" not in page and "&lt;script&gt;alert" in page
    assert page.count("<figure>") == 5 and "http://" not in page and "https://" not in page


def test_the_page_shows_images_from_the_whole_list(tmp_path: Path) -> None:
    """Six of eleven: with every second one, the last is at most two places from the end."""
    for number in range(11):
        write_image(tmp_path / "photos" / f"{number}.jpg")
    write_json(tmp_path / "t.json", {str(number): ["cat"] for number in range(11)})
    images = imported(tmp_path)
    order = [*images.ids("train"), *images.ids("val")]
    page = (tmp_path / "tag2mask" / "samples.html").read_text()
    shown = [order.index(i) for i in re.findall(r"<figcaption>(\w+): cat", page)]
    assert len(shown) == 6 and shown == sorted(shown)
    assert shown[0] <= 1 and shown[-1] >= 9 and max(np.diff(shown)) == 2


def test_a_second_import_replaces_the_first_and_nothing_else(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "labels.csv").write_text("image,label\na,cat\nb,cat\nc,dog\n")
    before = (root / "labels.csv").read_text()
    imported(root)
    assert len(tags_of(imported(root))) == 3
    assert "labels.csv is there already" in refused(root, "--out", str(root), capsys=capsys)
    assert (root / "labels.csv").read_text() == before
    (root / "labels.csv").rename(root / "tags.csv")
    (root / "samples.html").write_text("mine")
    assert "samples.html is there already" in refused(root, "--out", str(root), capsys=capsys)
    with (root / "tag2mask" / "labels.csv").open() as stream:
        assert next(csv.reader(stream)) == ["image", "labels"]


def test_an_import_that_was_stopped_is_made_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its table stood without a configuration, and was taken for the user's own."""
    (root / "labels.csv").write_text("image,label\na,cat\nb,cat\nc,dog\n")

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(importing, "write_config", stopped)
        assert main(["data", "import", str(root)]) == 130
    half = root / "tag2mask" / "data.yaml"
    assert main(["data", "check", "--data", str(half)]) == 2  # no new table with an old configuration
    assert "class_path" in capsys.readouterr().err
    assert len(tags_of(imported(root))) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--val-fraction", "0"), "--val-fraction must lie between 0 and 1, got 0.0"),
        (("--val-fraction", "nan"), "--val-fraction must lie between 0 and 1, got nan"),
        (("--mask-value", "255=cat"), "has no folder of masks: name it with --masks"),
        (("--draw-masks", "--mask-value", "255=cat"), "--draw-masks makes the masks itself"),
        (("--tags-column", "label"), "--tags-column says how to read a table, but this is JSON"),
    ],
)
def test_options_that_would_do_nothing(
    root: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "t.json").write_text('{"a": ["cat"]}')
    assert message in refused(root, *options, capsys=capsys)
    assert not (root / "tag2mask").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"t.csv": "image,label\n../secret.jpg,cat\n"}, "not a file name inside"),
        ({"t.csv": "image,label\n/etc/passwd,cat\n"}, "not inside the folder"),
        ({"t.csv": "image,label\na,Cat\nb,cat\n"}, "'Cat' and 'cat', which look like one class"),
        ({"t.csv": "image,label\na,x\n", "t.json": "{}"}, "can be read in several ways .*--annotations"),
        ({"t.csv": "image,label\na,x\n", "u.csv": "image,label\na,x\n"}, "can be read in several ways"),
        ({"t.json": "{"}, "cannot be read as JSON"),
        ({"t.json": "[" * 100000}, "cannot be read as JSON"),
        ({"t.json": '[{"labels": ["cat"]}]'}, "entry 1 names no image"),
        ({"t.json": '[{"image": "a"}]'}, "the entry of a has no tags"),
        ({"t.json": '{"a": [1.5, 2]}'}, "are .1.5, 2., not a list of names"),
        ({"t.json": '{"a": [true, false]}'}, "are .True, False., not a list of names"),
        ({"t.json": '{"a": [0, 1], "b": [1, 0]}'}, "all tags are 0, 1, which name no class"),
        ({"t.json": '{"images": [{"id": 1}], "annotations": [], "categories": []}'}, "not COCO's form"),
        ({"t.json": "3"}, "no form that can be read"),
    ],
)
def test_what_cannot_be_imported(
    root: Path, files: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in files.items():
        (root / name).write_text(text)
    assert re.search(message, refused(root, capsys=capsys))
    assert not (root / "tag2mask").exists()


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [0, 10], "b": [7], "c": 10}',
        '[{"image": "a", "labels": [0, 10]}, {"image": "b", "labels": 7}, {"image": "c", "labels": ["10"]}]',
        "image,labels\na,0;10\nb,7\nc,10\n",
    ],
)
def test_numbers_are_names_in_json_as_in_a_csv(
    root: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / ("t.csv" if text.startswith("image") else "t.json")).write_text(text)
    capsys.readouterr()
    images = imported(root)
    assert images.classes.names == ("0", "10", "7")
    assert tags_of(images) == {"a": ("0", "10"), "b": ("7",), "c": ("10",)}
    assert "the tags are numbers, taken as names of classes: 0, 10, 7" in capsys.readouterr().out


def test_names_may_be_0_and_1_where_nothing_else_is_meant(root: Path, tmp_path: Path) -> None:
    (root / "t.json").write_text('{"a": ["0"], "b": ["1"], "c": ["1"]}')
    assert tags_of(imported(root)) == {"a": ("0",), "b": ("1",), "c": ("1",)}
    for name in ("0/a", "0/b", "1/c", "1/d"):
        write_image(tmp_path / "folders" / f"{name}.jpg")
    assert sorted(tags_of(imported(tmp_path / "folders")).values()) == [("0",), ("0",), ("1",), ("1",)]


def test_folders_that_are_links(tmp_path: Path) -> None:
    """Chosen classes of a large data set are often links; one to the folder around it has no end."""
    for name in ("cat/a", "cat/b", "dog/c", "dog/d"):
        write_image(tmp_path / "large" / f"{name}.jpg")
    root = tmp_path / "chosen"
    root.mkdir()
    for name in ("cat", "dog"):
        (root / name).symlink_to(tmp_path / "large" / name)
    (tmp_path / "large" / "cat" / "round").symlink_to(root)
    assert sorted(tags_of(imported(root)).values()) == [("cat",), ("cat",), ("dog",), ("dog",)]


def test_folders_that_are_no_classes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "photos" / "t.csv").write_text("image,label\na,cat\n")
    write_image(root / "more" / "a.jpg")
    assert f"import {root / 'photos'}, or give" in refused(root, capsys=capsys)
    (root / "photos" / "t.csv").unlink()
    (root / "photos").rename(root / "train")
    (root / "more").rename(root / "valid")
    assert "holds train and valid, which are splits" in refused(root, capsys=capsys)


def test_a_folder_with_nothing_to_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(tmp_path / "a.jpg")
    assert "neither a table of tags" in refused(tmp_path, capsys=capsys)
    assert "is not a folder" in refused(tmp_path / "none", capsys=capsys)
