"""``tag2mask data import``: every form that people have, what it writes, and what it refuses."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tag2mask.cli import main
from tag2mask.data import ImageSet
from tag2mask.data.command import dataset_from_config
from tag2mask.data.imports import command as importing
from tag2mask.data.imports.coco_masks import decode_rle
from tag2mask.data.separators import clean_name

SIZE = (6, 9)  # height, width


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE[::-1], (200, 100, 50)).save(path)


def write_json(path: Path, plain: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain))
    return path


def imported(root: Path, *options: str) -> ImageSet:
    """The data set that the import writes, by the file that a run is given."""
    assert main(["data", "import", str(root), *options]) == 0
    return dataset_from_config(str(root / "tag2mask" / "data.yaml"))


def tags_of(images: ImageSet) -> dict[str, tuple[str, ...]]:
    return {i: images.tag_names(i) for split in ("train", "val") for i in images.ids(split)}


def refused(root: Path, *options: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["data", "import", str(root), *options]) == 2
    return capsys.readouterr().err


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in "abcde":
        write_image(tmp_path / "photos" / f"{name}.jpg")
    return tmp_path


TAGS = {"a": ("cat", "dog"), "b": ("dog",), "c": ("cat",), "d": ("dog",), "e": ("cat",)}


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


def coco(names: str, categories: dict[int, str], pairs: list[tuple[str, int]]) -> dict[str, Any]:
    ids = {name: number for number, name in enumerate(names, 100)}
    return {
        "images": [{"id": ids[name], "file_name": f"{name}.jpg"} for name in names],
        "annotations": [{"image_id": ids[name], "category_id": category} for name, category in pairs],
        "categories": [{"id": key, "name": name} for key, name in categories.items()],
    }


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


# ------------------------------------------------------------------ masks


def write_masks(root: Path, value: Any, dtype: Any = np.uint8) -> None:
    (root / "masks").mkdir()
    for name in "abcde":
        mask = np.zeros((*SIZE, *np.shape(value)), dtype)
        mask[2:4] = value
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")


@pytest.mark.parametrize(
    ("value", "dtype", "given"),
    [
        (255, np.uint8, ["255=cat"]),
        (1, np.uint8, []),
        (1, np.uint16, []),
        (40000, np.uint16, ["40000=cat"]),
        ((128, 0, 0), np.uint8, []),  # VOC's colour of id 1
        ((250, 10, 10), np.uint8, ["#FA0A0A=cat"]),
        ((255, 255, 255), np.uint8, ["255=cat"]),
    ],
)
def test_masks_become_ids(root: Path, value: Any, dtype: Any, given: list[str]) -> None:
    (root / "t.csv").write_text("image,label\na,cat\nb,cat\nc,cat\nd,cat\ne,cat\n")
    write_masks(root, value, dtype)
    images = imported(root, *[word for pair in given for word in ("--mask-value", pair)])
    mask = images.read_mask("a")
    assert mask is not None
    assert (mask[2:4] == 1).all() and mask.sum() == 2 * SIZE[1]
    page = (root / "tag2mask" / "samples.html").read_text()
    data = base64.b64decode(re.findall(r"base64,([^\"]*)", page)[0])
    pixel = Image.open(io.BytesIO(data)).getpixel((4, 3))
    assert isinstance(pixel, tuple) and pixel[0] < 180  # VOC's dark red on (200, 100, 50)
    # masks that are right already are used where they lie
    assert (root / "tag2mask" / "masks").exists() is ((value, dtype) != (1, np.uint8))


@pytest.mark.parametrize(
    ("value", "given", "message"),
    [
        (255, [], "hold no class, only 0"),
        (7, [], "ids that no class has: 7 in 5 masks"),
        ((1, 2, 3), [], r"hold #010203 \(in 5\), .*give --mask-value #010203=NAME"),
        (255, ["--mask-value", "255=cta"], "unknown class 'cta'; did you mean cat"),
        (255, ["--mask-value", "red=cat"], "write VALUE=NAME"),
        (9, ["--mask-value", "255=cat"], r"hold 9 \(in 5\), .*give --mask-value 9=NAME"),
    ],
)
def test_masks_of_unknown_values(
    root: Path, value: Any, given: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "t.csv").write_text("image,label\na,cat\nb,cat\nc,cat\nd,cat\ne,cat\n")
    write_masks(root, value)
    assert re.search(message, refused(root, *given, capsys=capsys))


def test_one_bit_names_no_class_where_there_are_two(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "t.csv").write_text("image,label\na,cat\nb,dog\nc,cat\nd,dog\ne,cat\n")
    write_masks(root, True, np.bool_)
    assert "hold 1 (in 5), and it is not known" in refused(root, capsys=capsys)
    (root / "t.csv").write_text("image,label\na,cat\nb,cat\nc,cat\nd,cat\ne,cat\n")
    mask = imported(root).read_mask("a")
    assert mask is not None and (mask[2:4] == 1).all()


def test_all_unknown_values_are_named_at_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "t.csv").write_text("image,label\na,cat\nb,cat\nc,cat\nd,cat\ne,cat\n")
    write_masks(root, 300, np.uint16)
    Image.fromarray(np.full(SIZE, 77, np.uint16)).save(root / "masks" / "b.png")
    assert "hold 300 (in 4), 77 (in 1), and" in refused(root, capsys=capsys)


def test_masks_are_drawn_from_coco_outlines(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = coco("abcde", {1: "cat", 2: "dog"}, [(n, 1) for n in "abcde"])
    for image in plain["images"]:
        image.update(height=SIZE[0], width=SIZE[1])
    first, *_ = plain["annotations"]
    first.update(segmentation=[[1, 1, 4, 1, 4, 3, 1, 3]], area=12)
    # 2 columns of 6 pixels without, then one with
    rle = {"image_id": 101, "category_id": 2, "area": 6, "segmentation": {"counts": [12, 6, 36]}}
    crowd = rle | {"image_id": 102, "iscrowd": 1}
    small = rle | {"image_id": 100, "area": 3, "segmentation": [[2, 1, 3, 1, 3, 2, 2, 2]]}
    plain["annotations"] += [small, rle, crowd]
    path = write_json(root / "instances.json", plain)
    images = imported(root, "--draw-masks")
    a, b, c = (images.read_mask(name) for name in "abc")
    assert a is not None and b is not None and c is not None
    # COCO's own code takes the pixels from x = 1 up to, not including, 4
    assert a[1:3, 1:4].tolist() == [[1, 2, 1], [1, 1, 1]] and (a > 0).sum() == 6
    assert (b[:, 2] == 2).all() and (b > 0).sum() == 6
    assert (c[:, 2] == 255).all()
    rle["segmentation"] = {"counts": [1, 2]}
    write_json(path, plain)
    assert "do not fill 9x6 pixels" in refused(root, "--draw-masks", capsys=capsys)
    (root / "instances.json").unlink()
    (root / "t.csv").write_text("image,label\na,cat\n")
    assert "--draw-masks needs COCO's annotations" in refused(root, "--draw-masks", capsys=capsys)


def test_a_mask_that_is_gone_is_gone_from_the_next_import_too(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "t.csv").write_text("image,label\na,cat\nb,cat\nc,dog\nd,dog\ne,dog\n")
    (root / "masks").mkdir()
    for name in "abc":
        Image.fromarray(np.full(SIZE, 200, np.uint8)).save(root / "masks" / f"{name}.png")
    values = ("--mask-value", "200=cat")
    assert imported(root, *values).read_mask("b") is not None
    (root / "masks" / "b.png").unlink()
    images = imported(root, *values)
    assert images.read_mask("b") is None and images.read_mask("a") is not None
    assert "note: 1 converted masks in " in capsys.readouterr().out


def test_a_box_without_an_outline_is_not_scored(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = coco("abcde", {1: "cat"}, [(n, 1) for n in "abcde"])
    for image in plain["images"]:
        image.update(height=SIZE[0], width=SIZE[1])
    box = plain["annotations"][0]
    box.update(bbox=[1, 1, 4, 3], segmentation=[])
    inner = {"image_id": 100, "category_id": 1, "area": 1, "segmentation": [[2, 2, 3, 2, 3, 3, 2, 3]]}
    plain["annotations"].append(inner)
    path = write_json(root / "instances.json", plain)
    mask = imported(root, "--draw-masks").read_mask("a")
    assert mask is not None
    assert (mask[1:4, 1:5] == 255).sum() == 11 and mask[2, 2] == 1 and (mask > 0).sum() == 12
    box["bbox"] = ["x", 1, 4, 3]
    write_json(path, plain)
    assert "a box or an area is no number" in refused(root, "--draw-masks", capsys=capsys)


def test_sizes_of_a_coco_file_that_are_not_those_of_the_images(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file and its entry are named: the mask, which the import draws, is not the user's to mend."""
    plain = coco("abcde", {1: "cat"}, [(n, 1) for n in "abcde"])
    for image in plain["images"]:
        image.update(height=SIZE[0], width=SIZE[1])
    for entry in plain["annotations"]:
        entry.update(segmentation=[[1, 1, 4, 1, 4, 3, 1, 3]])
    plain["images"][1].update(width=12)
    plain["images"][3].update(height=SIZE[1], width=SIZE[0])
    path = write_json(root / "instances.json", plain)
    told = refused(root, "--draw-masks", capsys=capsys)
    assert f"{path} says that 'b.jpg' in its images is 12x6 but that image is 9x6\n" in told
    assert f"{path} says that 'd.jpg' in its images is 6x9 but that image is 9x6 (turned, " in told
    assert "masks" not in told and not list(root.rglob("*.png"))
    assert set(tags_of(imported(root, "--draw-masks", "--skip-bad"))) == set("ace")


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


def packed(lengths: list[int]) -> str:
    """COCO's text for run lengths, by its description: 5 bits a character, signed, as differences."""
    text = ""
    for place, length in enumerate(lengths):
        value, more = length - (lengths[place - 2] if place > 2 else 0), True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(bits + 32 * more + 48)
    return text


def test_packed_run_lengths() -> None:
    assert packed([100]) == "T3"  # an empty mask of 10 x 10 pixels, as pycocotools writes it
    assert not decode_rle("T3", (10, 10)).any()
    lengths = [0, 5, 700, 1, 1, 30, 2000, 16, 15, 17]
    shape = (5, sum(lengths) // 5)
    expected = decode_rle(lengths, shape)
    assert expected.sum() == sum(lengths[1::2])
    assert (decode_rle(packed(lengths), shape) == expected).all()
    with pytest.raises(ValueError, match="do not fill"):
        decode_rle("T3", (10, 11))


# ------------------------------------------------------------------ what is written, and what is not


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
