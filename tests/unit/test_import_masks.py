"""``tag2mask data import``: masks of every kind become palette PNGs of ids."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tag2mask.data.imports.coco_masks import decode_rle
from tests.import_sources import SIZE, coco, imported, refused, root, tags_of, write_json

__all__ = ["root"]  # the fixture of these tests


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
