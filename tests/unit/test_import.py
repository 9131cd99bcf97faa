"""``tag2mask data import``: every form that people have, their splits, and images that cannot be read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tag2mask.cli import main
from tag2mask.data.separators import clean_name
from tests.import_sources import TAGS, coco, imported, refused, root, tags_of, write_image, write_json

__all__ = ["root"]  # the fixture of these tests


# ------------------------------------------------------------------ forms


def test_images_beside_a_table(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "my.csv").write_text('file,class\na.JPG,"cat,dog"\nphotos/b.jpg,dog\nc,cat\nd,dog\ne.jpg,cat\n')
    images = imported(root)
    assert tags_of(images) == TAGS and images.classes.names == ("cat", "dog")
    out = capsys.readouterr().out
    assert "next: tag2mask run psa --data" in out and "data.yaml" in out
    assert re.search(r"class +train +val\n-+\ncat +\d +\d\ndog +\d +\d\n-+\nimages +\d +\d", out)
    assert main(["data", "check", "--data", str(root / "tag2mask" / "data.yaml")]) == 0


@pytest.mark.parametrize("with_splits", [False, True])
def test_a_folder_for_each_class(tmp_path: Path, with_splits: bool) -> None:
    for number, name in enumerate(("cat", "cat", "traffic light", "traffic light")):
        split = ("train" if number % 2 else "valid") if with_splits else ""
        write_image(tmp_path / split / name / f"{number}.jpg")
    write_image(tmp_path / "not_this.jpg")
    images = imported(tmp_path)
    assert images.classes.names == ("cat", "traffic light")
    assert sorted(tags_of(images).values()) == [("cat",)] * 2 + [("traffic light",)] * 2
    if with_splits:
        assert images.ids("train") == ["train__cat__1", "train__traffic_light__3"]


@pytest.mark.parametrize(
    "plain",
    [
        {f"{name}.jpg": list(names) for name, names in TAGS.items()},
        {f"{name}.jpg": ";".join(names) for name, names in TAGS.items()},
        {f"{name}.jpg": {"tags": list(names), "split": "train"} for name, names in TAGS.items()},
        [{"file_name": f"photos/{name}.jpg", "labels": list(names)} for name, names in TAGS.items()],
    ],
)
def test_json(root: Path, plain: Any) -> None:
    write_json(root / "tags.json", plain)
    assert tags_of(imported(root)) == TAGS


def test_a_json_object_in_each_line(root: Path) -> None:
    lines = [json.dumps({"image": name, "labels": list(names)}) for name, names in TAGS.items()]
    (root / "tags.jsonl").write_text("\n".join(lines))
    assert tags_of(imported(root)) == TAGS


def test_coco(root: Path) -> None:
    categories = {9: "dog", 3: "traffic light", 5: "never"}
    train = coco("abc", categories, [("a", 9), ("a", 3), ("a", 9), ("b", 9), ("c", 3)])
    val = coco("de", categories, [("d", 9), ("e", 3)])
    write_json(root / "annotations" / "instances_train.json", train)
    write_json(root / "annotations" / "instances_val.json", val)
    images = imported(root)
    assert images.classes.names == ("traffic light", "dog")  # in the order of COCO's ids
    assert images.ids("train") == list("abc") and images.ids("val") == list("de")
    assert set(images.tag_names("a")) == {"dog", "traffic light"}


def test_cocos_ids_may_be_numbers_and_texts(root: Path) -> None:
    """Sorting them failed, and "9" in an annotation was no 9."""
    plain = coco("abcde", {9: "dog", 3: "cat"}, [(name, 9) for name in "abcde"] + [("a", 3)])
    plain["categories"] += [{"id": "x", "name": "never"}, {"id": "10", "name": "cow"}]
    plain["annotations"] += [{"image_id": "101", "category_id": "3"}, {"image_id": 102, "category_id": 10.0}]
    write_json(root / "instances.json", plain)
    images = imported(root)
    assert images.classes.names == ("cat", "dog", "cow")
    assert set(images.tag_names("b")) == {"cat", "dog"} and set(images.tag_names("c")) == {"cow", "dog"}


@pytest.mark.parametrize(
    ("part", "entry", "message"),
    [
        ("categories", {"id": 1, "name": "horse"}, "the id 1 in categories stands for 'cat' and 'horse'"),
        ("images", {"id": 100, "file_name": "b.jpg"}, "the id 100 in images stands for 'a.jpg' and 'b.jpg'"),
        (
            "annotations",
            {"image_id": 7, "category_id": 1},
            "entry 6 .* names 7, .* no id in images",
        ),
        ("annotations", {"image_id": 100, "category_id": "x"}, "names 'x', which is no id in categories"),
        ("annotations", {"image_id": 100}, "entry 6 of annotations has no category_id"),
        ("annotations", {"image_id": 100, "category_id": [1]}, r"has \[1\] as category_id"),
        ("categories", {"id": None, "name": "cow"}, "has None as id"),
        ("images", "a.jpg", "entry 6 of images has no id"),
    ],
)
def test_cocos_ids_stand_for_one_thing(
    root: Path, part: str, entry: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last of two names took the tags of both."""
    plain = coco("abcde", {1: "cat"}, [(name, 1) for name in "abcde"])
    plain[part].append(entry)
    write_json(root / "instances.json", plain)
    assert re.search(message, refused(root, capsys=capsys))


def test_voc_xml_with_lists(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "Annotations").mkdir()
    for name, names in TAGS.items():
        inner = "".join(f"<object><name>{n}</name></object>" for n in names)
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{inner}</annotation>")
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\nb\n")
    (root / "ImageSets" / "Main" / "val.txt").write_text("c\n")
    images = imported(root)
    assert images.ids("train") == ["a", "b"] and images.ids("val") == ["c"]
    assert "2 images of" in capsys.readouterr().out
    assert images.tag_names("a") == TAGS["a"]


def test_lists_beside_xml_files_may_come_from_windows(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "abc":
        path = root / "Annotations" / f"{name}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text("<annotation><object><name>cat</name></object></annotation>")
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\r\ngone\r\n")
    (lists / "val.txt").write_text("c\n")
    (lists / "test.txt").write_text("")
    assert imported(root).ids("train") == ["a", "b"]
    assert "1 images of the lists have no XML file, e.g. gone" in capsys.readouterr().out
    (lists / "val.txt").write_bytes(b"caf\xe9\n")
    assert "save it in UTF-8" in refused(root, capsys=capsys)


def test_an_xml_file_with_entities_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "a.xml").write_text('<!DOCTYPE x [<!ENTITY e "dog">]><annotation/>')
    assert "document type" in refused(root, capsys=capsys)


# ------------------------------------------------------------------ splits, negatives, what is missing


def test_a_source_without_validation_images_gets_some(root: Path) -> None:
    rows = "".join(f"{name},cat,{'test' if name == 'e' else 'train'}\n" for name in "abcde")
    (root / "t.csv").write_text("image,label,split\n" + rows)
    images = imported(root)
    assert len(images.ids("train")) + len(images.ids("val")) == 4 and images.ids("val")
    assert images.ids("test") == ["e"]


def test_a_folder_that_means_no_class(tmp_path: Path) -> None:
    for name in ("defect/1", "defect/2", "good/3", "good/4"):
        write_image(tmp_path / f"{name}.jpg")
    images = imported(tmp_path, "--negative", "good")
    assert images.classes.names == ("defect",)
    assert sorted(tags_of(images).values()) == [(), (), ("defect",), ("defect",)]


@pytest.mark.parametrize(("choice", "count"), [("negative", 5), ("skip", 3)])
def test_images_without_tags(root: Path, choice: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "t.csv").write_text("image,labels\na,cat\nb,\nc,dog\nd,\ne,dog\n")
    assert "2 images have no tags, e.g. photos/b.jpg" in refused(root, capsys=capsys)
    assert len(tags_of(imported(root, "--untagged", choice))) == count


def test_images_that_are_missing_or_broken(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "t.csv").write_text("image,label\na,cat\nb,cat\nc,dog\nx.jpg,dog\ny,dog\n")
    err = refused(root, capsys=capsys)
    assert "2 of 5 images are not in" in err and "x.jpg" in err and "t.csv, line 5" in err
    (root / "photos" / "b.jpg").write_bytes(b"no image")
    images = imported(root, "--skip-bad")
    assert set(tags_of(images)) == {"a", "c"}
    assert images.describe()["init_args"]["skip"] == ["b"]
    out = capsys.readouterr().out
    assert "2 images are not in" in out and "1 images cannot be read" in out and "2 images in" in out


@pytest.mark.parametrize("broken", ["b", "bc"])
def test_the_way_out_of_broken_images_is_the_imports_own(
    root: Path, broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "t.csv").write_text("image,label\na,cat\nb,cat\nc,dog\nd,dog\n")
    for name in broken:
        (root / "photos" / f"{name}.jpg").write_bytes(b"no image")
    err = refused(root, capsys=capsys).strip()
    assert err.endswith("out with --skip-bad") and "data check" not in err
    assert len(tags_of(imported(root, "--skip-bad"))) == 4 - len(broken)


# ------------------------------------------------------------------ tables


def test_what_a_table_holds_is_told_of_the_users_own_file(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = root / "t.csv"
    table.write_text("image,labels,split\na,cat,train\nb,dog,TRAIN\nc,cat,valid\nd,dog,\ne,cat,\n")
    told = f"{table}, line 5: photos/d.jpg has no split, and 3 images have one; give all of them one, or none"
    assert refused(root, capsys=capsys) == f"error: {told}\n"
    table.write_text("image,labels\n")
    assert f"{table} has no rows below its headings" in refused(root, capsys=capsys)
    table.write_text("image,breed,colour\na,cat,red\nb,dog,red\n")
    assert "which with --tags-column of tag2mask data import, or tags_column" in refused(root, capsys=capsys)
    table.write_text("image,labels,score\na,cat,1\nb,dog,1\nc,cat,1\nd,dog,1\ne,cat,1\n")
    imported(root)
    assert "note: columns that are not read: score\n" in capsys.readouterr().out


def test_a_folder_of_all_images_is_no_class(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a table that is no CSV, or none, every image would get the tag `photos`."""
    told = refused(root, capsys=capsys)
    assert (
        f"{root} has images in photos, and nothing that can be read says what they show: write a CSV" in told
    )
    (root / "labels.xlsx").write_bytes(b"PK\x03\x04")
    assert f"{root / 'labels.xlsx'} cannot be read: save it as CSV" in refused(root, capsys=capsys)
    (root / "photos").rename(root / "cat")
    assert imported(root).classes.names == ("cat",)
    write_json(root / "t.json", {})
    assert "t.json: it names no image" in refused(root, capsys=capsys)


def test_zeros_and_ones_with_decimal_commas(root: Path) -> None:
    """As spreadsheets in German, French, ... save numbers; and with more digits."""
    rows = "a;1,0;1,0\nb;0,0;1,0\nc;1,0;0,0\nd;0,00;1,00\ne;1.00;0.0\n"
    (root / "t.csv").write_text(f"image;cat;dog\n{rows}")
    assert tags_of(imported(root)) == TAGS


def test_quotes_inside_of_a_name_stay(root: Path) -> None:
    tags = {n: ['the "old" one', 'A & "B"'] for n in "abcde"}
    write_json(root / "t.json", tags)
    assert imported(root).classes.names == ('A & "B"', 'the "old" one')
    assert clean_name("\"'cat'\"") == "cat" and clean_name("'fish's'") == "fish's"
