"""Own images as people have them: odd names, masks of all sorts, broken files; and what the check says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tag2mask.cli import main
from tag2mask.core import ClassList, UserError
from tag2mask.data import VOC, ImageSet, Table
from tag2mask.data.check import check_dataset
from tag2mask.data.command import dataset_from_config
from tag2mask.data.images import read_rgb, to_rgb

SIZE = (6, 9)  # height, width
NAMES = "abcdefgh"


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE[::-1], (200, 100, 50)).save(path)


def write_array(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Eight images; a, c, e, g show a cat, the others a dog; three in five for training."""
    lines = ["image,labels,split"]
    for index, name in enumerate(NAMES):
        write_image(tmp_path / "images" / f"{name}.jpg")
        lines.append(f"{name}.jpg,{'dog' if index % 2 else 'cat'},{'val' if index > 4 else 'train'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return tmp_path


def table(root: Path, **changes: Any) -> Table:
    return Table("images", "labels.csv", root=str(root), **changes)


def check(root: Path, *options: str) -> int:
    return main(["data", "check", "--data", "table", "--data-root", str(root), *options])


def test_a_single_image_is_not_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(tmp_path / "images" / "a.jpg")
    (tmp_path / "labels.csv").write_text("image,labels\na.jpg,cat\n")
    assert check(tmp_path) == 2
    assert "out and give two images or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "text", "message"),
    [
        ("classes", "[1, 2]", r"classes holds 1, read as int and not as text: write it in quotes"),
        ("classes", "[yes, no]", r"classes holds True, read as bool"),
        ("classes", "cat", r"classes must be a list, got 'cat': write \[cat\]"),
        ("skip", "[7]", r"skip holds 7, read as int"),
    ],
)
def test_names_that_yaml_does_not_read_as_text(root: Path, argument: str, text: str, message: str) -> None:
    """Numbers compared with texts ended in a traceback as classes, and were ignored as images to skip."""
    plain = yaml.safe_load(text)
    with pytest.raises(UserError, match=message):
        table(root, **{argument: plain})
    with pytest.raises(UserError, match=message):
        VOC(str(root), **{argument: plain})


def test_numbers_as_tags_are_names(root: Path) -> None:
    (root / "labels.csv").write_text("image,labels\na.jpg,1;2\nb.jpg,2\nc.jpg,10\n")
    assert table(root).classes.names == ("1", "10", "2")
    assert table(root, classes=["1", "2", "10"]).tag_names("a") == ("1", "2")


def test_more_classes_than_label_files_have_ids(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tags = ";".join(f"class_{number:05}" for number in range(10_000))
    (root / "labels.csv").write_text(f"image,labels\na.jpg,{tags}\nb.jpg,class_00000\n")
    assert check(root) == 2
    told = capsys.readouterr().err
    assert "10000 classes (class_00000, class_00001, class_00002, ...) are too many" in told
    assert "ids up to 254" in told
    assert len(told) < 400, "one line, not a list of all classes"
    with pytest.raises(UserError, match=r"ids must lie in 1\.\.254, got 255$"):
        ClassList(("a", "b"), (1, 255))
    with pytest.raises(UserError, match="class 'a' is named twice"):
        ClassList(("a", "b", "a"), (1, 2, 3))


# ------------------------------------------------------------------ names of files


@pytest.mark.parametrize(
    ("listed", "file", "image_id"),
    [
        ("A.jpg", "A.JPG", "A"),
        ("a.JPG", "a.jpg", "a"),
        ("a", "a.JPG", "a"),
        ("a", "a", "a"),
        ("IMG.v2", "IMG.v2.jpg", "IMG.v2"),
        ("IMG.v2.jpg", "IMG.v2.jpg", "IMG.v2"),
        ("cafe\u0301.jpg", "caf\u00e9.jpg", "caf\u00e9"),
        ("caf\u00e9", "cafe\u0301.jpg", "caf\u00e9"),
        ("sub\\b.jpg", "sub/b.jpg", "sub__b"),
        ("./sub/b", "sub/b.png", "sub__b"),
        ("Sub/b.jpg", "sub/b.jpg", "Sub__b"),
        ("images/a.jpg", "a.jpg", "a"),
        ("{root.name}/images/sub/b.jpg", "sub/b.jpg", "sub__b"),
        ("images/a.jpg", "images/a.jpg", "images__a"),
        ("{root}/images/sub/b.jpg", "sub/b.jpg", "sub__b"),
    ],
)
def test_images_are_found(tmp_path: Path, listed: str, file: str, image_id: str) -> None:
    path = tmp_path / "images" / file
    write_image(path.with_name("some.png"))
    path.with_name("some.png").rename(path)
    (tmp_path / "labels.csv").write_text(f"image,label\n{listed.format(root=tmp_path)},cat\n")
    images = table(tmp_path)
    assert images.ids("train") == [image_id]
    assert images.image_path(image_id).samefile(path)
    images.check("train")


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("../a.jpg", "not a file name inside"),
        ("sub/../../a.jpg", "not a file name inside"),
        ("..\\a.jpg", "not a file name inside"),
        ("/etc/passwd", "not inside the folder"),
        ("C:\\photos\\a.jpg", "not inside the folder"),
        ("{root}/images/../labels.csv", "not inside the folder"),
        ("{root}/imagesx/a.jpg", "not inside the folder"),
        ("images/../labels.csv", "not a file name inside"),
    ],
)
def test_no_name_leads_out_of_the_folder(root: Path, listed: str, message: str) -> None:
    (root / "labels.csv").write_text(f"image,label\n{listed.format(root=root)},cat\n")
    with pytest.raises(UserError, match=message):
        table(root).ids("train")


def test_a_name_that_fits_two_files_is_refused(root: Path) -> None:
    write_image(root / "images" / "a.png")
    (root / "labels.csv").write_text("image,label\na,cat\n")
    with pytest.raises(UserError, match=r"a could be a\.jpg or a\.png"):
        table(root).check("train")


def test_two_names_of_one_file_are_refused(root: Path) -> None:
    (root / "labels.csv").write_text("image,label\na.jpg,cat\nA.JPG,dog\n")
    with pytest.raises(UserError, match=r"line 3: A\.JPG and a\.jpg \(line 2\) are one image"):
        table(root).ids("train")
    write_image(root / "images" / "A.JPEG")
    (root / "images" / "A.JPEG").rename(root / "images" / "A.JPG")
    assert set(table(root).ids("train") + table(root).ids("val")) == {"a", "A"}


@pytest.mark.parametrize(
    ("listed", "file", "hint"),
    [
        ("x.jpg", "x.jpeg", r" \(x\.jpeg is there\)"),
        ("x.jpg", "sub/X.JPG", r" \(sub/X\.JPG is there\)"),
        ("photos/x.jpg", "x.jpg", r" \(x\.jpg is there\)"),
        ("y.jpg", "x.jpg", ""),
    ],
)
def test_a_missing_image_names_the_one_that_may_be_meant(
    root: Path, listed: str, file: str, hint: str
) -> None:
    path = root / "images" / file
    write_image(path.with_name("some.png"))
    path.with_name("some.png").rename(path)
    (root / "labels.csv").write_text(f"image,label,split\na.jpg,cat,val\n{listed},cat,train\n")
    with pytest.raises(UserError, match=f"does not exist{hint}: .*line 3"):
        table(root).check("train")


def test_voc_images_with_other_endings(root: Path) -> None:
    (root / "images").rename(root / "JPEGImages")
    (root / "JPEGImages" / "a.jpg").rename(root / "JPEGImages" / "a.JPG")
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("a\nb\n")
    images = VOC(str(root), tags=str(root / "labels.csv"))
    images.check("train")
    assert images.image_path("a").name in ("a.JPG", "a.jpg")


# ------------------------------------------------------------------ values of images


@pytest.mark.parametrize(
    ("name", "values"),
    [("a.tif", np.full(SIZE, 40000, np.uint16)), ("a.tif", np.full(SIZE, 0.5, np.float32)),
     ("a.png", np.full(SIZE, 40000, np.uint16))],
)  # fmt: skip
def test_images_of_more_than_8_bits_are_refused(root: Path, name: str, values: np.ndarray) -> None:
    (root / "images" / "a.jpg").unlink()
    write_array(root / "images" / name, values)
    (root / "labels.csv").write_text(f"image,label,split\n{name},cat,train\n")
    with pytest.raises(UserError, match=rf"{name} has .*: convert the images to 8 bits"):
        table(root).check("train")
    with pytest.raises(UserError, match="convert the images to 8 bits"):
        read_rgb(root / "images" / name)
    with pytest.raises(UserError, match=r"the image has .* 8 bits"):
        to_rgb(Image.open(root / "images" / name))


# ------------------------------------------------------------------ tags


def test_images_without_tags_are_negatives_on_request(root: Path) -> None:
    (root / "labels.csv").write_text("image,defect,split\na.jpg,1,train\nb.jpg,0,train\nc.jpg,1,val\n")
    with pytest.raises(UserError, match=r"b\.jpg has no tags .*untagged: negative"):
        table(root).check("train")
    images = table(root, untagged="negative")
    images.check("train")
    assert images.classes.names == ("defect",)
    assert images.tags("b").tolist() == [0] and images.tags("a").tolist() == [1]
    assert ImageSet.from_description(images.describe()).describe() == images.describe()
    with pytest.raises(UserError, match="untagged must be error or negative"):
        table(root, untagged="maybe")


def test_voc_images_without_tags(root: Path) -> None:
    (root / "images").rename(root / "JPEGImages")
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("a\nb\nc\n")
    (root / "image_labels.csv").write_text("image,labels\na,cat\nb,\n")
    with pytest.raises(UserError, match="2 things are wrong"):
        VOC(str(root)).check("train")
    images = VOC(str(root), untagged="negative")
    images.check("train")
    assert images.tag_names("b") == images.tag_names("c") == ()


def test_look_alike_tags_are_refused_unless_listed(root: Path) -> None:
    (root / "labels.csv").write_text("image,labels,split\na.jpg,Cat,train\nb.jpg,cat,train\nc.jpg,cat,val\n")
    with pytest.raises(UserError, match="'Cat' and 'cat', which look like one class"):
        _ = table(root).classes
    assert table(root, classes=["Cat", "cat"]).classes.names == ("Cat", "cat")


def test_class_names_with_spaces_in_a_yaml_file(root: Path, tmp_path: Path) -> None:
    (root / "labels.csv").write_text("image,labels,split\na.jpg,traffic light,train\nb.jpg,dog,train\n")
    arguments = {"images": "images", "csv": "labels.csv", "classes": ["traffic light", "dog"]}
    dataset = {"class_path": "tag2mask.data.Table", "init_args": arguments}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"data": {"init_args": {"dataset": dataset}}}))
    images = dataset_from_config(str(path), root=str(root))
    assert images.tag_names("a") == ("traffic light",)


# ------------------------------------------------------------------ masks


def write_masks(root: Path, values: dict[str, int], dtype: Any = np.uint8, colours: bool = False) -> None:
    for name, value in values.items():
        mask = np.zeros(SIZE, dtype)
        mask[:3] = value
        write_array(root / "masks" / f"{name}.png", np.stack([mask] * 3, -1) if colours else mask)


RIGHT = {name: 2 if index % 2 else 1 for index, name in enumerate(NAMES)}


@pytest.mark.parametrize("name", ["masks", "Masks"])
def test_masks_beside_the_images_are_found(root: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_masks(root, RIGHT)
    (root / "masks").rename(root / name)
    assert check(root) == 0
    out = capsys.readouterr().out
    assert "train 5 images, 1.00 tags each, 5 masks" in out and out.count("\n") == 1
    without = table(root, masks=None)
    assert [without.mask_path(i) for i in without.ids("train")] == [None] * 5
    assert table(root).describe()["init_args"]["masks"] == str(root / name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"values": dict.fromkeys(NAMES, 255)},
            r"hold no class, only 0 \(in 8\), 255 \(in 8\).*1 cat, 2 dog",
        ),
        ({"values": RIGHT, "colours": True}, r"a\.png has colours, not class ids"),
        ({"values": RIGHT, "dtype": np.uint16}, r"a\.png has values of type I;16, not class ids"),
        (
            {"values": RIGHT | {"b": 7, "d": 7}},
            r"no class has: 7 in 2 masks \(most of .* the tag 'dog'\), as in .*png.*1 cat, 2 dog",
        ),
    ],
)
def test_masks_that_cannot_be_scored(
    root: Path, changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_masks(root, **changes)
    assert check(root) == 2
    assert re.search(message, capsys.readouterr().err)


def test_masks_with_ids_in_another_order_are_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_masks(root, {name: 3 - value for name, value in RIGHT.items()})
    assert check(root) == 0
    out = capsys.readouterr().out
    assert "note: mask id 1 is cat, but only 0 of the 4 masks with it" in out
    assert "(most of these images have the tag 'dog')" in out


def test_masks_of_other_names_are_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_masks(root, {"a_mask": 1})
    assert check(root) == 0
    assert (
        "has no mask named as an image: a_mask.png is there, a.png is looked for" in capsys.readouterr().out
    )


def test_columns_that_are_not_read_are_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "labels.csv").write_text("image,label,width,split\na.jpg,cat,9,train\nb.jpg,cat,9,val\n")
    assert check(root) == 0
    assert "labels.csv: columns that are not read: width" in capsys.readouterr().out


def test_a_misspelt_split_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "labels.csv").write_text("image,labels,split\na.jpg,cat,train\nb.jpg,dog,trian\nc.jpg,cat,val\n")
    assert check(root) == 0
    assert "1 of the rows have the split 'trian' (did you mean train?)" in capsys.readouterr().out
    (root / "labels.csv").write_text("image,labels,split\na.jpg,cat,train\n")
    assert check(root) == 2
    assert "unknown split 'val'; known: train. (in " in capsys.readouterr().err


def test_classes_that_the_tags_do_not_tell_apart(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = 'a.jpg,"dog, brown",train\nb.jpg,cat,train\nc.jpg,cat,val\n'
    (root / "labels.csv").write_text(f"image,labels,split\n{rows}")
    assert check(root) == 0
    out = capsys.readouterr().out
    assert "'brown' and 'dog' are tags of the same train images (1), so nothing tells" in out
    assert dataset_from_config("table", str(root)).classes.names == ("brown", "cat", "dog")
    rows = rows.replace('"dog, brown"', '"[""dog, brown""]"')
    (root / "labels.csv").write_text(f"image,labels,split\n{rows}")
    assert check(root) == 0
    out = capsys.readouterr().out
    assert "2 classes: cat, 'dog, brown'; ok" in out and "same train images" not in out


@pytest.mark.parametrize("given", ["", "labels.csv"])
def test_a_folder_named_as_the_data_set(root: Path, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["data", "check"], ["run", "psa", "--dry-run"]):
        assert main([*command, "--data", str(root / given)]) == 2
        assert f"write --data table --data-root {root}, or" in capsys.readouterr().err


def test_images_beside_the_table_are_left_to_the_import(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "images").rename(root / "photos")
    assert check(root) == 2
    error = capsys.readouterr().err
    assert "images does not exist" in error and f"tag2mask data import {root} finds" in error


# ------------------------------------------------------------------ broken files


def break_some(root: Path, names: str) -> None:
    for name in names:
        (root / "images" / f"{name}.jpg").write_bytes(b"no image")


def test_all_broken_files_are_listed_at_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    break_some(root, "ac")
    (root / "images" / "g.jpg").unlink()
    assert check(root) == 2
    err = capsys.readouterr().err
    assert "3 things are wrong" in err and "--skip-bad" in err
    assert all(f"{name}.jpg" in err for name in "acg")
    with pytest.raises(UserError, match=r"(?s)2 things .*a\.jpg.*c\.jpg"):
        table(root).check("train")


def test_what_many_images_lack_is_explained_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "labels.csv").write_text("image,labels\n" + "".join(f"{n}.jpg,\n" for n in NAMES[1:]) + "a.jpg,x")
    assert check(root) == 2
    err = capsys.readouterr().err
    assert err.count("has no tags") == 7 and err.count("untagged negative") == 1


@pytest.mark.parametrize(("tag", "told"), [("cat", True), ("", False)])
def test_a_class_in_every_image_is_told(root: Path, tag: str, told: bool) -> None:
    names = ["defect"] * 4 + [tag and "cat;defect"]
    rows = [f"{image}.jpg,{name},train" for image, name in zip(NAMES, names, strict=False)]
    (root / "labels.csv").write_text("\n".join(["image,labels,split", *rows, "f.jpg,defect,val"]))
    notes = check_dataset(table(root, untagged="negative"), ["train", "val"]).notes
    assert any("every train image is tagged defect: " in note for note in notes) == told


def test_a_long_list_of_broken_files_is_cut(root: Path) -> None:
    rows = "".join(f"no{n}.jpg,cat,train\n" for n in range(25))
    (root / "labels.csv").write_text("image,labels,split\n" + rows)
    with pytest.raises(UserError, match=r"(?s)25 things .*\.\.\. and 15 more"):
        table(root).check("train")


def test_skip_bad_writes_its_file_also_where_nothing_is_wrong(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "kept.yaml"
    assert check(root, "--out", str(out)) == 2
    assert "--out names the file that --skip-bad writes" in capsys.readouterr().err
    assert check(root, "--skip-bad", "--out", str(out)) == 0
    assert f"left out 0 images; go on with --data {out}" in capsys.readouterr().out
    assert dataset_from_config(str(out)).ids("val") == list("fgh")


def test_skip_bad_leaves_them_out_and_records_it(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    break_some(root, "ag")
    out = tmp_path / "kept.yaml"
    assert check(root, "--skip-bad", "--out", str(out)) == 0
    assert "left out 2 images" in capsys.readouterr().out
    images = dataset_from_config(str(out))
    assert images.ids("train") == list("bcde") and images.ids("val") == list("fh")
    assert images.describe()["init_args"]["skip"] == ["a", "g"]
    assert main(["data", "check", "--data", str(out)]) == 0
    # a second check keeps what the first one left out
    break_some(root, "b")
    again = tmp_path / "again.yaml"
    assert main(["data", "check", "--data", str(out), "--skip-bad", "--out", str(again)]) == 0
    assert dataset_from_config(str(again)).ids("train") == list("cde")
    image = (root / "images" / "c.jpg").read_bytes()
    assert check(root, "--skip-bad", "--out", str(root / "images" / "c.jpg")) == 2
    assert (root / "images" / "c.jpg").read_bytes() == image


def test_a_split_without_a_readable_image(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    break_some(root, "fgh")
    assert check(root, "--skip-bad", "--out", str(root / "kept.yaml")) == 2
    assert "split val has no image that can be read" in capsys.readouterr().err
    assert not (root / "kept.yaml").exists()


def test_damage_in_the_middle_of_a_file_is_found_by_decoding(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    path = root / "images" / "a.png"
    write_array(path, noise)
    (root / "images" / "a.jpg").unlink()
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    path.write_bytes(bytes(data))
    (root / "labels.csv").write_text("image,label,split\na.png,cat,train\nb.jpg,dog,train\nc.jpg,cat,val\n")
    assert check(root) == 0
    assert check(root, "--decode") == 2
    assert "a.png cannot be read" in capsys.readouterr().err
